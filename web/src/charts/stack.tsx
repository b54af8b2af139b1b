/** A stacked area over time: crosshair with numbers, drag to zoom, hatched gaps, a table instead. */

import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { Gap } from "../api";
import { rate, shortRate, tick, instant, type Zone } from "../format";
import { timeTicks, valueTicks } from "./scale";

export interface Layer {
  name: string;
  /** Bytes by step. */
  values: readonly number[];
  /** Number of the colour; 0 is that of the rest. */
  colour: number;
}

interface Props {
  layers: readonly Layer[];
  from: number;
  step: number;
  gaps: readonly Gap[];
  zone: Zone;
  label: string;
  height?: number;
  onZoom?: ((from: number, to: number) => void) | undefined;
}

/** The width of an element in pixels, so that text in a chart keeps its size. */
function useWidth(frame: { current: HTMLElement | null }, first: number): number {
  const [width, setWidth] = useState(first);
  useEffect(() => {
    const found = frame.current;
    if (!found) return undefined;
    const watch = new ResizeObserver(() => setWidth(Math.max(200, found.clientWidth)));
    watch.observe(found);
    return () => watch.disconnect();
  }, []);
  return width;
}

const LEFT = 66;
const BOTTOM = 20;
const TOP = 6;

export function Stack(props: Props) {
  const { layers, from, step, gaps, zone, onZoom } = props;
  const frame = useRef<HTMLElement>(null);
  const width = useWidth(frame, 700);
  const height = props.height ?? 220;
  const [at, setAt] = useState<number | null>(null);
  const [begun, setBegun] = useState<number | null>(null);
  const [asTable, setAsTable] = useState(false);
  const hatch = useId();
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
  const areas = layers.map((layer) => {
    const low = below.map((value) => value);
    layer.values.forEach((value, i) => (below[i] = (below[i] ?? 0) + value));
    const line = (of: readonly number[]) =>
      of.map((value, i) => `${x(middle(i)).toFixed(1)} ${y(value / step).toFixed(1)}`);
    const path = points ? `M${line(below).join("L")}L${line(low).reverse().join("L")}Z` : "";
    return <path key={layer.name} class={`c${layer.colour}`} d={path} />;
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
        <TableOf {...props} points={points} />
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
              <title>{`${gap.reason}: no numbers until ${instant(gap.to, zone)}`}</title>
            </rect>
          );
        })}
        {timeTicks(from, to, Math.max(2, width / 80), offset).map((time) => (
          <text key={time} class="tick" x={x(time)} y={height - 5} text-anchor="middle">
            {tick(time, to - from, zone)}
          </text>
        ))}
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
            <div key={layer.name}>
              <i class={`dot c${layer.colour}`} />
              <span>{layer.name}</span>
              <span class="number">{rate((layer.values[at] ?? 0) / step)}</span>
            </div>
          ))}
        </div>
      )}
      <figcaption>
        {layers.map((layer) => (
          <span key={layer.name} class="legend">
            <i class={`dot c${layer.colour}`} />
            {layer.name}
          </span>
        ))}
        <button type="button" class="quiet" onClick={() => setAsTable(true)}>
          show as table
        </button>
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
              <th key={layer.name} scope="col" class="number">
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
                <td key={layer.name} class="number">
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
