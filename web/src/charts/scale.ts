/** Ticks of axes. Pure. */

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
