/** The questions of the screens in PromQL, for the metrics of docs/metrics.md. Pure. */

import type { Span } from "./address";

const CROSSING = 'class=~"cross_zone|cross_region"';
const PAIRS = "kzn_workload_pair_bytes_total";
/** What a curve is a mean over. */
const CURVE = "[5m]";

/** A part of a workload's traffic: of one workload, one namespace, or from one zone to another. */
export interface Part {
  namespace?: string | undefined;
  workload?: string | undefined;
  /** SRC>DST. */
  cell?: string | undefined;
}

export type Function = "rate" | "increase";

/** The span as a range: of a span by its name the one that ends now. */
export function rangeOf(span: Span): string {
  if (span.from === null || span.to === null) return `[${span.name}]`;
  return `[${Math.round(span.to - span.from)}s] @ ${span.to}`;
}

function equal(label: string, value: string): string {
  return `${label}="${value.replace(/["\\]/g, "\\$&").replace(/\n/g, "\\n")}"`;
}

function series(metric: string, matchers: readonly string[]): string {
  return matchers.length ? `${metric}{${matchers.join(", ")}}` : metric;
}

function inCell(cell: string | undefined): string[] {
  const [src, dst] = (cell ?? "").split(">", 2);
  return src === undefined || dst === undefined || !cell ? [] : [equal("src_zone", src), equal("dst_zone", dst)];
}

function measured(how: Function, span: Span, selector: string): string {
  return `${how}(${selector}${how === "rate" ? CURVE : rangeOf(span)})`;
}

/** What workloads cause from zone to zone, by ``by``: labels of the pair, ``namespace`` and ``workload`` of the cause. */
export function caused(how: Function, span: Span, by: readonly string[], part: Part = {}): string {
  const side = (end: "src" | "dst", opener: string) => {
    const matchers = [
      opener,
      ...(part.namespace === undefined ? [] : [equal(`${end}_namespace`, part.namespace)]),
      ...(part.workload === undefined ? [] : [equal(`${end}_workload`, part.workload)]),
      ...inCell(part.cell),
    ];
    const found = measured(how, span, series(PAIRS, matchers));
    return ["namespace", "workload"]
      .filter((name) => by.includes(name))
      .reduce((inner, name) => `label_replace(${inner}, "${name}", "$1", "${end}_${name}", "(.*)")`, found);
  };
  // The cause is the end that opened the connection, the sender if that is not known.
  const both = `${side("src", 'initiator!="destination"')}\n  or ${side("dst", 'initiator="destination"')}`;
  return `sum by (${by.join(", ")}) (\n  ${both}\n)`;
}

/** The ``count`` workloads that cause most, as curves. */
export function topCaused(count: number, span: Span, part: Part): string {
  return `topk(${count}, ${caused("rate", span, ["namespace", "workload"], part)})`;
}

/** From zone to zone, every class. */
export function zones(span: Span): string {
  return `sum by (src_zone, dst_zone) (${measured("increase", span, "kzn_zone_traffic_bytes_total")})`;
}

/** What a workload sends (``src``) or receives across zones, by its peer and who opened the connection. */
export function peers(span: Span, namespace: string, workload: string, side: "src" | "dst"): string {
  const peer = side === "src" ? "dst" : "src";
  const matchers = [equal(`${side}_namespace`, namespace), equal(`${side}_workload`, workload)];
  const by = [`${peer}_namespace`, `${peer}_workload`, "initiator"];
  return `sum by (${by.join(", ")}) (${measured("increase", span, series(PAIRS, matchers))})`;
}

const PAIR_LABELS = new Set([
  ...["src", "dst"].flatMap((end) => ["namespace", "workload", "zone"].map((name) => `${end}_${name}`)),
  "initiator",
]);

/** Pairs across zones by the dimensions of a screen; null, with the first dimension that no metric has. */
export function pairs(span: Span, by: readonly string[]): { query: string | null; missing: string } {
  // Kinds are not in the metric: workloads of one name are one there.
  const labels = by.filter((name) => !name.endsWith("_workload_kind"));
  if (labels.every((name) => ["src_zone", "dst_zone", "class"].includes(name))) {
    const zones = measured("increase", span, series("kzn_zone_traffic_bytes_total", [CROSSING]));
    return { query: `sum by (${labels.join(", ")}) (${zones})`, missing: "" };
  }
  const missing = labels.find((name) => !PAIR_LABELS.has(name)) ?? "";
  const query = `sum by (${labels.join(", ")}) (${measured("increase", span, PAIRS)})`;
  return { query: missing ? null : query, missing };
}

/** What the traffic across zones that workloads cause costs at both ends. */
export function cost(span: Span, part: Part = {}): string {
  const matchers = [CROSSING, ...(part.namespace === undefined ? [] : [equal("namespace", part.namespace)])];
  const found = measured("increase", span, series("kzn_workload_caused_cost_total", matchers));
  return `sum by (namespace, workload_kind, workload, currency) (${found})`;
}

/** The terms of each node since its counters began. */
export function nodes(terms: readonly string[]): string {
  const counters = terms.filter((term) => term !== "held").join("|");
  return `sum by (node, __name__) ({__name__=~"kzn_(?:${counters})_bytes_total|kzn_held_bytes"})`;
}

/** Bytes by reason, for the terms of bytes that are not attributed. */
export function reasons(terms: readonly string[]): string {
  return `sum by (reason, __name__) ({__name__=~"kzn_(?:${terms.join("|")})_bytes_total"})`;
}

/** What ``bytes`` of traffic cost from zone to zone, at each side. */
export function prices(bytes: number): string {
  return `max by (src_zone, dst_zone, class, side, currency) (kzn_traffic_price) * ${bytes}`;
}
