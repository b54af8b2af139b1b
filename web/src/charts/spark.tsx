/** A small curve beside its number; hidden from screen readers, which read the number. */

import { useMemo } from "preact/hooks";
import { None } from "../parts/controls";
import { usePageShown } from "../parts/later";

/** In tenths of a pixel, so that whole numbers are exact enough. */
const WIDTH = 1100;
const HEIGHT = 200;
const EDGE = 10;
/** More points than that are not seen. */
const POINTS = 72;

interface Props {
  series: readonly number[];
  /** What of the series has numbers: a first point and one after the last. */
  part: readonly [number, number];
}

/** Its cell is empty until the page was shown: style.css keeps the place. */
export function Spark(props: Props) {
  const isTime = usePageShown();
  if (props.series.length < 2) return <None why="there is no curve of a single step" />;
  return isTime ? <Curve {...props} /> : null;
}

function Curve({ series, part: [first, last] }: Props) {
  // Hundreds of rows are drawn again with each key in the filter.
  const line = useMemo(() => lineOf(series.slice(first, last)), [series, first, last]);
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {line && <path class="area" d={`${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`} />}
      {line && <path class="line" d={line} />}
    </svg>
  );
}

function lineOf(series: readonly number[]): string {
  const means = thinned(series, Math.ceil(series.length / POINTS));
  const most = Math.max(...means, 1);
  const high = HEIGHT - 3 * EDGE;
  return means
    .map((value, i) => {
      const x = Math.round((i / Math.max(means.length - 1, 1)) * WIDTH);
      return `${i ? "L" : "M"}${x} ${Math.round(HEIGHT - EDGE - (value / most) * high)}`;
    })
    .join("") + (means.length === 1 ? `H${WIDTH}` : "");
}

/** The means of ``each`` points that follow one another. */
export function thinned(series: readonly number[], each: number): readonly number[] {
  if (each < 2) return series;
  return Array.from({ length: Math.ceil(series.length / each) }, (_, i) => {
    const part = series.slice(i * each, (i + 1) * each);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}
