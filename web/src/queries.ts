/** The questions that screens ask of /api/v1/traffic. Pure. */

import { pathOf, type Query } from "./api";
import { halves, RANGES, type Span } from "./address";

/** Classes of traffic that crosses zones. */
export const CROSSING = ["class:cross_zone", "class:cross_region"];
/** Classes of traffic between known places. */
export const PLACED = ["class:same_zone", ...CROSSING, "class:external"];
export const POINTS = 72;
export const CHART_POINTS = 144;

export interface Question {
  by: readonly string[];
  where?: readonly string[];
  limit?: number;
  points?: number;
  compare?: boolean;
}

/** The span as parameters: a range by name ends now, and starts as long ago. */
export function spanQuery(span: Span): Query {
  if (span.from !== null && span.to !== null)
    return { from: String(span.from), to: String(span.to) };
  return { since: span.name in RANGES ? span.name : "1h" };
}

/** The path of a question about a span. */
export function traffic(span: Span, question: Question): string {
  return pathOf("traffic", {
    ...spanQuery(span),
    by: question.by.join(","),
    where: question.where ?? [],
    limit: question.limit ?? 50,
    points: question.points || undefined,
    compare: question.compare ? "previous" : undefined,
  });
}

/** A filter on both ends of a cell SRC>DST. */
export function cellWhere(cell: string): string[] {
  const [src, dst] = cell.split(">", 2);
  return src === undefined || dst === undefined ? [] : [`src_zone:${src}`, `dst_zone:${dst}`];
}

/** PromQL of what workloads cause from zone to zone, as a rate. */
export function promql(workload: string): string {
  const [namespace, name] = halves(workload);
  const quoted = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`;
  const labels = [
    'class=~"cross_zone|cross_region"',
    ...(workload ? [`namespace=${quoted(namespace)}`, `workload=${quoted(name)}`] : []),
  ];
  return (
    "sum by (namespace, workload, direction) " +
    `(rate(kzn_workload_traffic_bytes_total{${labels.join(", ")}}[5m]))`
  );
}
