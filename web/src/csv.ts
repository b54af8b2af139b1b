/** An answer about traffic as CSV (RFC 4180). */

import { ask, type Traffic } from "./api";
import { save } from "./save";

function cell(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

/** A name that no spreadsheet takes for a formula: groups and static names may be any text.
 * Spreadsheets of some languages take full-width characters for the others.
 */
function name(value: unknown): unknown {
  return typeof value === "string" && /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(value) ? `'${value}` : value;
}

/** A line for each row, then other and total, so that the sums can be checked. */
export function csvOf(answer: Traffic): string {
  const all = [...answer.rows, answer.other, answer.total];
  const currencies = [...new Set(all.flatMap((sums) => Object.keys(sums.cost ?? {})))].sort();
  const head = [...answer.by, "bytes", "packets", ...currencies.map((unit) => `cost_${unit}`), "unpriced_bytes"];
  const line = (labels: unknown[], sums: Traffic["total"]) =>
    [
      ...labels.map(name),
      sums.bytes,
      sums.packets,
      ...currencies.map((unit) => sums.cost?.[unit] ?? 0),
      sums.unpriced_bytes,
    ]
      .map(cell)
      .join(",");
  const named = (what: string) => answer.by.map((_, i) => (i === 0 ? what : ""));
  return [
    head.map(cell).join(","),
    ...answer.rows.map((row) => line(answer.by.map((label) => row[label]), row)),
    line(named("(other)"), answer.other),
    line(named("(total)"), answer.total),
    "",
  ].join("\r\n");
}

/** Ask for an answer and let the browser save it. */
export async function saveCsv(path: string, name: string): Promise<void> {
  const text = csvOf(await ask<Traffic>(path));
  save(new Blob([text], { type: "text/csv" }), name);
}
