/** Rows of workloads: names, layers of a chart, filters. Pure. */

import { label, type Row, type Traffic } from "./api";
import type { Layer } from "./charts/stack";

export type End = "src" | "dst" | "cause";

/** NAMESPACE/NAME of one end of a row; a node has no namespace: /NAME. */
export function nameOf(row: Row, end: End): string {
  return `${label(row, `${end}_namespace`)}/${label(row, `${end}_workload`)}`;
}

/** The kind of one end's workload: Deployment, Node, …; empty for what is outside. */
export function kindOf(row: Row, end: End): string {
  return label(row, `${end}_workload_kind`);
}

/** What tells one end's workload from all others: two kinds may have one name. */
export function keyOf(row: Row, end: End): string {
  return `${kindOf(row, end)}:${nameOf(row, end)}`;
}

/** The dimensions of one end's workload. */
export function workloadOf(end: End): string[] {
  return [`${end}_namespace`, `${end}_workload_kind`, `${end}_workload`];
}

/** A name as people read it. */
export function shown(name: string): string {
  return name.replace(/^\//, "") || "outside";
}

function byKey(rows: readonly Row[], end: End): Map<string, Row> {
  return new Map(rows.map((row) => [keyOf(row, end), row]));
}

/**
 * Bytes by `keyOf`; null without an answer, and for what may be among the groups that it has no rows of.
 */
export function bytesBy(answer: Traffic | null, end: End): (key: string) => number | null {
  const found = byKey(answer?.rows ?? [], end);
  const isWhole = answer !== null && answer.of <= answer.rows.length;
  return (key) => found.get(key)?.bytes ?? (isWhole ? 0 : null);
}

/** The largest rows as layers of a chart, and all else as the lowest. */
export function layers(answer: Traffic, end: End, count: number): Layer[] {
  const top = answer.rows.slice(0, count);
  const length = Math.max(0, ...answer.rows.map((row) => row.series?.length ?? 0), answer.total.series?.length ?? 0);
  const rest = Array.from({ length }, (_, i) => {
    const shown = top.reduce((sum, row) => sum + (row.series?.[i] ?? 0), 0);
    return Math.max(0, (answer.total.series?.[i] ?? 0) - shown);
  });
  const found = top.map((row, i) => ({
    id: keyOf(row, end),
    name: shown(nameOf(row, end)),
    values: row.series ?? [],
    colour: i + 1,
  }));
  const all = rest.some((value) => value > 0) ? [{ name: "all others", values: rest, colour: 0 }] : [];
  return [...all, ...found.reverse()];
}

/** Whether a row has all the words of a filter in its name. */
export function matches(name: string, filter: string): boolean {
  return filterOf(filter)(name.toLowerCase());
}

/** The same for many names, which are in small letters. */
export function filterOf(filter: string): (name: string) => boolean {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return (name) => words.every((word) => name.includes(word));
}
