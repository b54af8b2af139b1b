/** A stacked area over time: crosshair with numbers, drag to zoom, hatched gaps, a table instead. */

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Gap } from "../api";
import { rate, shortRate, tick, instant, type Zone } from "../format";
import { Copy } from "../parts/controls";
import { SaveImage } from "../parts/image";
import { usePageShown } from "../parts/later";
import { gapText } from "../reasons";
import { timeTicks, valueTicks } from "./scale";

export interface Layer {
  name: string;
  /** Tells layers of one name apart. */
  id?: string;
  /** Bytes by step. */
  values: readonly number[];
  /** Number of the colour; 0 is that of the rest. */
  colour: number;
}

interface Props {
  layers: readonly Layer[];
  from: number;
  step: number;
  /** What of the values has numbers: a first point and one after the last. */
  part: readonly [number, number];
  gaps: readonly Gap[];
  zone: Zone;
  label: string;
  height?: number;
  /** About how wide it will be, in pixels: drawn at once for that. */
  width?: number | undefined;
  /** The curves in PromQL. */
  query?: string;
  onZoom?: ((from: number, to: number) => void) | undefined;
}

/** The width of an element in pixels, so that text in a chart keeps its size. */
function useWidth(frame: { current: HTMLElement | null }, first: number): number {
  const [width, setWidth] = useState(first);
  useLayoutEffect(() => {
    const found = frame.current;
    if (!found) return undefined;
    const watch = new ResizeObserver(() => {
      const now = Math.max(200, found.clientWidth);
      // The picture is scaled to its frame: a little is not worth drawing it again.
      setWidth((before) => (Math.abs(now - before) < CLOSE * before ? before : now));
    });
    watch.observe(found);
    return () => watch.disconnect();
  }, []);
  return width;
}

/** A share of the width by which text may be larger or smaller than meant. */
const CLOSE = 0.08;
/** Pixels of half a time on the axis. */
const HALF_A_TIME = 36;
const LEFT = 66;
const BOTTOM = 20;
const TOP = 6;

export function Stack(props: Props) {
  const { step, gaps, zone, onZoom } = props;
  const [first, last] = props.part;
  const from = props.from + first * step;
  const layers = props.layers.map((layer) => ({ ...layer, values: layer.values.slice(first, last) }));
  const frame = useRef<HTMLElement>(null);
  const width = useWidth(frame, props.width ?? 700);
  const height = props.height ?? 220;
  const [at, setAt] = useState<number | null>(null);
  const [begun, setBegun] = useState<number | null>(null);
  const [asTable, setAsTable] = useState(false);
  const hatch = useId();
  const isTime = usePageShown();
  const points = layers[0]?.values.length ?? 0;
  const to = from + points * step;
  const sums = Array.from({ length: points }, (_, i) =>
    layers.reduce((sum, layer) => sum + (layer.values[i] ?? 0), 0),
  );
  const most = Math.max(...sums, 1) / step;
  const x = (time: number) => LEFT + ((time - from) / Math.max(to - from, 1)) * (width - LEFT);
  const y = (value: number) => TOP + (1 - value / most) * (height - TOP - BOTTOM);
  const middle = (i: number) => from + (i + 0.5) * step;
  const below = new Array<number>(points).fill(0);
  const areas = (isTime ? layers : []).map((layer) => {
    const low = below.map((value) => value);
    layer.values.forEach((value, i) => (below[i] = (below[i] ?? 0) + value));
    // The first and the last step from and to their edges: of few steps, or a single one, halves would lack.
    const line = (of: readonly number[]) =>
      [of[0] ?? 0, ...of, of.at(-1) ?? 0].map((value, i) => {
        const time = Math.min(Math.max(middle(i - 1), from), to);
        return `${x(time).toFixed(1)} ${y(value / step).toFixed(1)}`;
      });
    const path = points ? `M${line(below).join("L")}L${line(low).reverse().join("L")}Z` : "";
    return <path key={layer.id ?? layer.name} class={`c${layer.colour}`} d={path} />;
  });
  const offset = zone === "utc" ? 0 : -new Date(from * 1000).getTimezoneOffset() * 60;
  const indexOf = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const inside = ((event.clientX - box.left) / box.width) * width - LEFT;
    const i = Math.floor((inside / (width - LEFT)) * points);
    return Math.max(0, Math.min(points - 1, i));
  };
  const end = (event: PointerEvent) => {
    if (begun === null || !onZoom) return;
    const last = indexOf(event);
    setBegun(null);
    if (Math.abs(last - begun) < 1) return;
    const [low, high] = [Math.min(begun, last), Math.max(begun, last)];
    onZoom(from + low * step, from + (high + 1) * step);
  };
  if (asTable)
    return (
      <figure class="chart" ref={frame}>
        <TableOf {...props} layers={layers} from={from} points={points} />
        <button type="button" class="quiet" onClick={() => setAsTable(false)}>
          show as chart
        </button>
      </figure>
    );
  return (
    <figure class="chart" ref={frame}>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        role="img"
        aria-label={props.label}
        class={onZoom ? "zoomable" : ""}
        onPointerMove={(event) => setAt(indexOf(event))}
        onPointerLeave={() => setAt(null)}
        onPointerDown={(event) => setBegun(indexOf(event))}
        onPointerUp={end}
      >
        {isTime && (
          <>
            <defs>
              <pattern id={hatch} width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <rect class="hatch" width="2" height="6" />
              </pattern>
            </defs>
            {valueTicks(most, 3).map((value) => (
              <g key={value}>
                <line class="grid" x1={LEFT} x2={width} y1={y(value)} y2={y(value)} />
                <text class="tick" x={LEFT - 6} y={y(value) + 4} text-anchor="end">
                  {shortRate(value)}
                </text>
              </g>
            ))}
            {areas}
            {gaps.map((gap) => {
              const [begin, last] = [Math.max(gap.from, from), Math.min(gap.to, to)];
              if (begin >= last) return null;
              return (
                <rect
                  key={gap.from}
                  class="gap"
                  data-reason={gap.reason}
                  x={x(begin)}
                  y={TOP}
                  width={Math.max(x(last) - x(begin), 2)}
                  height={height - TOP - BOTTOM}
                  fill={`url(#${hatch})`}
                >
                  <title>{`${gapText(gap.reason)}: no numbers until ${instant(gap.to, zone)}`}</title>
                </rect>
              );
            })}
            {timeTicks(from, to, Math.max(2, width / 80), offset).map((time) => (
              <text
                key={time}
                class="tick"
                x={x(time)}
                y={height - 5}
                text-anchor={x(time) > width - HALF_A_TIME ? "end" : "middle"}
              >
                {tick(time, to - from, zone)}
              </text>
            ))}
          </>
        )}
        {at !== null && begun !== null && (
          <rect
            class="zoom"
            x={x(from + Math.min(at, begun) * step)}
            width={x(from + (Math.abs(at - begun) + 1) * step) - LEFT}
            y={TOP}
            height={height - TOP - BOTTOM}
          />
        )}
        {at !== null && (
          <line class="cross" x1={x(middle(at))} x2={x(middle(at))} y1={TOP} y2={height - BOTTOM} />
        )}
      </svg>
      {at !== null && points > 0 && (
        <div class={`tip ${at > points / 2 ? "left" : "right"}`} role="presentation">
          <b>{instant(from + at * step, zone)}</b>
          {[...layers].reverse().map((layer) => (
            <div key={layer.id ?? layer.name}>
              <i class={`dot c${layer.colour}`} />
              <span>{layer.name}</span>
              <span class="number">{rate((layer.values[at] ?? 0) / step)}</span>
            </div>
          ))}
        </div>
      )}
      <figcaption>
        {layers.map((layer) => (
          <span key={layer.id ?? layer.name} class="legend">
            <i class={`dot c${layer.colour}`} />
            {layer.name}
          </span>
        ))}
        <span class="saves">
          {props.query && <Copy text={props.query} quiet>PromQL</Copy>}
          <SaveImage frame={frame} title={props.label} legend={layers} />
          <button type="button" class="quiet" onClick={() => setAsTable(true)}>
            show as table
          </button>
        </span>
      </figcaption>
    </figure>
  );
}

function TableOf({ layers, from, step, zone, label, points }: Props & { points: number }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">from</th>
            {layers.map((layer) => (
              <th key={layer.id ?? layer.name} scope="col" class="number">
                {layer.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: points }, (_, i) => (
            <tr key={i}>
              <th scope="row">{instant(from + i * step, zone)}</th>
              {layers.map((layer) => (
                <td key={layer.id ?? layer.name} class="number">
                  {rate((layer.values[i] ?? 0) / step)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
