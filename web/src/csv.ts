/** An answer about traffic as CSV (RFC 4180). */

import { ask, type Traffic } from "./api";

function cell(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

/** A line for each row, then other and total, so that the sums can be checked. */
export function csvOf(answer: Traffic): string {
  const all = [...answer.rows, answer.other, answer.total];
  const currencies = [...new Set(all.flatMap((sums) => Object.keys(sums.cost ?? {})))].sort();
  const head = [...answer.by, "bytes", "packets", ...currencies.map((name) => `cost_${name}`), "unpriced_bytes"];
  const line = (labels: unknown[], sums: Traffic["total"]) =>
    [
      ...labels,
      sums.bytes,
      sums.packets,
      ...currencies.map((name) => sums.cost?.[name] ?? 0),
      sums.unpriced_bytes,
    ]
      .map(cell)
      .join(",");
  const named = (name: string) => answer.by.map((_, i) => (i === 0 ? name : ""));
  return [
    head.map(cell).join(","),
    ...answer.rows.map((row) => line(answer.by.map((name) => row[name]), row)),
    line(named("(other)"), answer.other),
    line(named("(total)"), answer.total),
    "",
  ].join("\r\n");
}

/** Ask for an answer and let the browser save it. */
export async function saveCsv(path: string, name: string): Promise<void> {
  const text = csvOf(await ask<Traffic>(path));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
