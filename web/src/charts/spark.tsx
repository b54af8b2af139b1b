/** A small curve beside its number; hidden from screen readers, which read the number. */

const WIDTH = 110;
const HEIGHT = 20;

export function Spark({ series }: { series: readonly number[] }) {
  if (series.length < 2) return null;
  const most = Math.max(...series, 1);
  const x = (i: number) => ((i / (series.length - 1)) * WIDTH).toFixed(1);
  const y = (v: number) => (HEIGHT - 1 - (v / most) * (HEIGHT - 3)).toFixed(1);
  const line = series.map((v, i) => `${i ? "L" : "M"}${x(i)} ${y(v)}`).join("");
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="area" d={`${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`} />
      <path class="line" d={line} />
    </svg>
  );
}
