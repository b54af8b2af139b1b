/** The questions that screens ask of /api/v1/traffic. Pure. */

import { pathOf, type Query } from "./api";
import { RANGES, type Span } from "./address";

/** Classes of traffic that crosses zones. */
export const CROSSING = ["class:cross_zone", "class:cross_region"];
/** Classes of traffic between known places. */
export const PLACED = ["class:same_zone", ...CROSSING, "class:external"];
export const POINTS = 72;
export const CHART_POINTS = 144;
/** The most rows that an answer can have, without a series. */
export const MOST = 10_000;
/** Rows of pairs of zones: with a series all of some thirty zones. */
export const ZONE_PAIRS = 1000;

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
