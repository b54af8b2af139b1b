/** Traffic from zone to zone: a matrix, or a flow from left to right. */

import { useRef } from "preact/hooks";
import { size } from "../format";
import { None, Scroll } from "../parts/controls";
import { SaveImage } from "../parts/image";
import { useSteps } from "../parts/later";
import { matrixRowsInSight } from "./scale";

export interface Cell {
  src: string;
  dst: string;
  bytes: number;
  cost: string;
}

interface Props {
  cells: readonly Cell[];
  names: ReadonlyMap<string, string>;
  /** The chosen cell, SRC>DST. */
  chosen: string;
  onChoose: (cell: string) => void;
}

/** Between two zones of the cluster: what comes from or goes outside crosses none. */
function isCrossing(cell: Cell): boolean {
  return cell.src !== cell.dst && cell.src !== "" && cell.dst !== "";
}

function sums(cells: readonly Cell[], end: "src" | "dst"): Map<string, number> {
  const found = new Map<string, number>();
  for (const cell of cells)
    if (isCrossing(cell)) found.set(cell[end], (found.get(cell[end]) ?? 0) + cell.bytes);
  return found;
}

/** The zones of cells in the order of their names, those outside the cluster last. */
export function zonesOf(cells: readonly Cell[]): string[] {
  const found = new Set(cells.flatMap((cell) => [cell.src, cell.dst]));
  // By code units: loading the rules of a language takes as long as drawing the matrix.
  return [...found].sort((a, b) => Number(a === "") - Number(b === "") || (a < b ? -1 : 1));
}

/** Rows of a large matrix that are drawn at a time while the browser is idle. */
const STEP = 5;

export function Matrix({ cells, names, chosen, onChoose }: Props) {
  const zones = zonesOf(cells);
  const drawn = useSteps(zones.length, matrixRowsInSight(window.innerHeight), STEP);
  const at = new Map(cells.map((cell) => [`${cell.src}>${cell.dst}`, cell]));
  const most = Math.max(...cells.filter(isCrossing).map((c) => c.bytes), 1);
  const [sent, received] = [sums(cells, "src"), sums(cells, "dst")];
  const total = [...sent.values()].reduce((a, b) => a + b, 0);
  return (
    <Scroll label="from zone to zone">
      <table class="matrix">
        <thead>
          <tr>
            <th scope="col" class="corner">
              from ↓ to →
            </th>
            {zones.map((zone) => (
              <th key={zone} scope="col" title={zone}>
                {names.get(zone) ?? zone}
              </th>
            ))}
            <th scope="col" class="last">sent</th>
          </tr>
        </thead>
        <tbody>
          {zones.slice(0, drawn).map((src) => (
            <tr key={src}>
              <th scope="row" title={src}>
                {names.get(src) ?? src}
              </th>
              {zones.map((dst) => {
                const cell = at.get(`${src}>${dst}`);
                const key = `${src}>${dst}`;
                if (src === dst && src === "")
                  return (
                    <td key={dst} class="soft" title="neither end is in the cluster: no node sees it">
                      –
                    </td>
                  );
                const isOutside = src === "" || dst === "";
                const heat = src === dst || isOutside ? 0 : Math.sqrt((cell?.bytes ?? 0) / most);
                const under = src === dst ? "same zone" : (cell?.cost ?? "");
                return (
                  <td key={dst}>
                    <button
                      type="button"
                      class={`cell ${src === dst || isOutside ? "same" : ""}`}
                      disabled={isOutside}
                      style={{ "--heat": heat.toFixed(3) }}
                      aria-pressed={chosen === key}
                      onClick={() => onChoose(chosen === key ? "" : key)}
                    >
                      <b>{cell || src !== dst ? size(cell?.bytes ?? 0) : <None why="nothing within this zone is counted here" />}</b>
                      {under && <small>{under}</small>}
                    </button>
                  </td>
                );
              })}
              <td class="sum last">{size(sent.get(src) ?? 0)}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">received</th>
            {zones.map((dst) => (
              <td key={dst} class="sum">
                {size(received.get(dst) ?? 0)}
              </td>
            ))}
            <td class="sum last">{size(total)}</td>
          </tr>
        </tbody>
      </table>
    </Scroll>
  );
}

const WIDTH = 560;
/** Of three zones; each more needs room for its name. */
const LEAST = 270;
const ROW = 26;
const GAP = 14;
const BAR = 12;
const HEADING = 22;
const MARGIN = 130;

export function Flow({ cells, names, chosen, onChoose }: Props) {
  const frame = useRef<HTMLElement>(null);
  const zones = zonesOf(cells).filter((zone) => zone !== "");
  const crossing = cells.filter((cell) => isCrossing(cell) && cell.bytes > 0);
  const total = crossing.reduce((sum, cell) => sum + cell.bytes, 0) || 1;
  const height = Math.max(LEAST, ROW * zones.length);
  const unit = (height - GAP * (zones.length - 1)) / total;
  const place = (of: Map<string, number>) => {
    const found = new Map<string, number>();
    let top = 0;
    for (const zone of zones) {
      found.set(zone, top);
      top += (of.get(zone) ?? 0) * unit + GAP;
    }
    return found;
  };
  const [sent, received] = [sums(crossing, "src"), sums(crossing, "dst")];
  const [left, right] = [place(sent), place(received)];
  const [out, into] = [new Map(left), new Map(right)];
  const bands = crossing.map((cell) => {
    const high = cell.bytes * unit;
    const [a, b] = [out.get(cell.src) ?? 0, into.get(cell.dst) ?? 0];
    out.set(cell.src, a + high);
    into.set(cell.dst, b + high);
    const [x1, x2] = [MARGIN + BAR, WIDTH - MARGIN - BAR];
    const mid = (x1 + x2) / 2;
    const path =
      `M${x1} ${a}C${mid} ${a} ${mid} ${b} ${x2} ${b}V${b + high}` +
      `C${mid} ${b + high} ${mid} ${a + high} ${x1} ${a + high}Z`;
    const key = `${cell.src}>${cell.dst}`;
    const name = `${names.get(cell.src)} to ${names.get(cell.dst)}: ${size(cell.bytes)}`;
    return (
      <path
        key={key}
        d={path}
        class={`band c${1 + (zones.indexOf(cell.src) % 5)} ${chosen && chosen !== key ? "dim" : ""}`}
        role="button"
        tabIndex={0}
        aria-label={name}
        aria-pressed={chosen === key}
        onClick={() => onChoose(chosen === key ? "" : key)}
        onKeyDown={(event) => {
          if (event.key === "Enter" || event.key === " ") onChoose(chosen === key ? "" : key);
        }}
      >
        <title>{name}</title>
      </path>
    );
  });
  const bars = (of: Map<string, number>, tops: Map<string, number>, x: number, end: boolean) =>
    zones.map((zone) => {
      const high = (of.get(zone) ?? 0) * unit;
      const top = tops.get(zone) ?? 0;
      return (
        <g key={zone}>
          <rect class={`c${1 + (zones.indexOf(zone) % 5)}`} x={x} y={top} width={BAR} height={Math.max(high, 1)} />
          <text
            class="zone"
            x={end ? x + BAR + 6 : x - 6}
            y={top + high / 2 + 4}
            text-anchor={end ? "start" : "end"}
          >
            {names.get(zone)} {size(of.get(zone) ?? 0)}
          </text>
        </g>
      );
    });
  return (
    <figure class="chart" ref={frame}>
      <svg class="flow" viewBox={`0 ${-HEADING} ${WIDTH} ${height + HEADING + 4}`} role="group" aria-label="Traffic from zone to zone">
        <text class="tick" x={MARGIN} y={8 - HEADING} text-anchor="end">
          sent from
        </text>
        <text class="tick" x={WIDTH - MARGIN} y={8 - HEADING}>
          received in
        </text>
        {bands}
        {bars(sent, left, MARGIN, false)}
        {bars(received, right, WIDTH - MARGIN - BAR, true)}
      </svg>
      <figcaption>
        <SaveImage frame={frame} title="Traffic from zone to zone" legend={[]} />
      </figcaption>
    </figure>
  );
}
