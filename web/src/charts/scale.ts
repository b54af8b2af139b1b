/** Ticks of axes, and how wide a chart will be. Pure. */

/** At most ``count`` round values from 0 to ``most``. */
export function valueTicks(most: number, count: number): number[] {
  if (!(most > 0)) return [0];
  const raw = most / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((one) => one * power >= raw) ?? 10) * power;
  const found: number[] = [];
  for (let value = 0; value <= most * 1.0001; value += step) found.push(value);
  return found;
}

const STEPS = [
  60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/** At most ``count`` round times within a span, in Unix seconds; ``offset`` is that of the zone. */
export function timeTicks(from: number, to: number, count: number, offset: number): number[] {
  const step = STEPS.find((one) => (to - from) / one <= count) ?? 2_592_000;
  const found: number[] = [];
  const first = Math.ceil((from + offset) / step) * step - offset;
  for (let at = first; at <= to; at += step) found.push(at);
  return found;
}

/** About how many pixels the overview's chart gets in a window, with or without a panel beside it. */
export function chartWidth(window: number, hasPanel: boolean): number {
  const isNarrow = window <= 1000;
  const whole = Math.min(window, 1680) - (isNarrow ? (window <= 600 ? 16 : 32) : hasPanel ? 488 : 32);
  const card = whole > 1000 ? ((whole - 16) * 1.15) / 2.15 : whole;
  return Math.max(200, Math.round(card - 30));
}

/** Pixels above the first row of the overview's table, at least, and of a row. */
const ABOVE_ROWS = 480;
const ROW = 28;
const FEWEST = 6;
/** Pixels of a matrix's row, and the share of the window that it has (style.css: .scroll). */
const MATRIX_ROW = 48;
const MATRIX_SHARE = 0.7;

/** How many rows of the overview's table a window can show before it is scrolled. */
export function rowsInSight(window: number): number {
  return Math.max(FEWEST, Math.ceil((window - ABOVE_ROWS) / ROW));
}

/** How many rows fill a matrix in a window before it is scrolled, with one that is cut. */
export function matrixRowsInSight(window: number): number {
  return 1 + Math.ceil((window * MATRIX_SHARE) / MATRIX_ROW);
}
