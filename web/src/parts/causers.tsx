/** The table of workloads that cause traffic across zones: the rows that are seen first, the others while the browser is idle. */

import { useMemo } from "preact/hooks";
import { counted, hasBefore, known, type Row, type Traffic } from "../api";
import { changed, format } from "../address";
import { rowsInSight } from "../charts/scale";
import { Spark } from "../charts/spark";
import { costOf, useShared } from "../context";
import { change, percent, size } from "../format";
import { bytesBy, keyOf, kindOf, nameOf } from "../workloads";
import { None, sizeOf } from "./controls";
import { Kept, useSteps } from "./later";

/** Rows that are drawn at a time while the browser is idle. */
const STEP = 60;

interface Props {
  answer: Traffic;
  /** Those of the answer that the filter leaves. */
  rows: readonly Row[];
  /** How many of them are shown. */
  most: number;
  sent: Traffic | null;
  received: Traffic | null;
  /** Whether the rest of the answer has a row. */
  hasOthers: boolean;
}

export function Causers({ answer, rows, most, sent, received, hasOthers }: Props) {
  const { settled, span, meta } = useShared();
  const { w = "", kind = "" } = settled.options;
  const drawn = useSteps(Math.min(most, rows.length), rowsInSight(window.innerHeight), STEP);
  const sentBy = useMemo(() => bytesBy(sent, "src"), [sent]);
  const receivedBy = useMemo(() => bytesBy(received, "dst"), [received]);
  const seconds = counted(answer);
  const priced = costOf(answer.total, seconds, meta.prices);
  const isKept = hasBefore(answer);
  const largest = Math.max(...rows.map((row) => row.bytes), 1);
  const [first, last] = known(answer);
  const left = answer.of - answer.rows.length;
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col" class="widest" data-widest={widest(rows.slice(0, most))}>
            Workload
          </th>
          <th scope="col" class="w3">
            {span.name === "custom" ? "when" : span.name}
          </th>
          <th scope="col" class="number" aria-sort="descending">
            Caused ↓
          </th>
          <th scope="col" class="number w2">
            Sent
          </th>
          <th scope="col" class="number w2">
            Received
          </th>
          {priced && (
            <th scope="col" class="number">
              A month
            </th>
          )}
          {isKept && (
            <th scope="col" class="number w1">
              vs. before
            </th>
          )}
          <th scope="col" class="w4">
            Share
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.slice(0, drawn).map((row) => {
          const [name, key, own] = [nameOf(row, "cause"), keyOf(row, "cause"), kindOf(row, "cause")];
          const isChosen = name === w && (!kind || kind === own);
          const [sentBytes, receivedBytes] = [sentBy(key), receivedBy(key)];
          return (
            <Kept key={key} of={[row, answer, settled, meta, isChosen, sent, received, largest]}>
              {() => {
                const turn = isKept ? change(row.bytes, row.before) : "";
                return (
                  <tr class={isChosen ? "chosen" : ""}>
                    <th scope="row">
                      <a href={format(changed(settled, { w: name, kind: own }))}>{String(row["cause_workload"] || "outside")}</a>{" "}
                      <span class="soft">{String(row["cause_namespace"] ?? "")}</span>{" "}
                      {own && <span class="kind">{own}</span>}
                    </th>
                    <td class="w3">
                      <Spark series={row.series ?? []} part={[first, last]} />
                    </td>
                    <td class="number">
                      <b>{size(row.bytes)}</b>
                    </td>
                    <td class="number w2">{sizeOf(sentBytes, sent)}</td>
                    <td class="number w2">{sizeOf(receivedBytes, received)}</td>
                    {priced && (
                      <td class="number" title={row.unpriced_bytes ? `${size(row.unpriced_bytes)} have no price` : undefined}>
                        {costOf(row, seconds, meta.prices)?.month ?? "no price"}
                      </td>
                    )}
                    {isKept && (
                      <td class={`number w1 ${turn.startsWith("+") ? "up" : turn.startsWith("−") ? "down" : ""}`}>{turn || <None why="not kept" />}</td>
                    )}
                    <td class="w4 share" style={{ "--share": (row.bytes / largest).toFixed(4) }}>
                      <span>{percent(row.bytes / Math.max(answer.total.bytes, 1))}</span>
                    </td>
                  </tr>
                );
              }}
            </Kept>
          );
        })}
        {answer.other.bytes > 0 && hasOthers && (
          <tr class="other">
            <th scope="row">{left > 0 ? `${left} others` : "others"}</th>
            <td class="w3">
              <Spark series={answer.other.series ?? []} part={[first, last]} />
            </td>
            <td class="number">{size(answer.other.bytes)}</td>
            <td class="number w2">
              <None why="what these sent is not added up" />
            </td>
            <td class="number w2">
              <None why="what these received is not added up" />
            </td>
            {priced && <td class="number">{costOf(answer.other, seconds, meta.prices)?.month ?? "no price"}</td>}
            {isKept && (
              <td class="number w1">{change(answer.other.bytes, answer.other.before) || <None why="not kept" />}</td>
            )}
            <td class="w4 share" style={{ "--share": Math.min(answer.other.bytes / largest, 1).toFixed(4) }}>
              <span>{percent(answer.other.bytes / Math.max(answer.total.bytes, 1))}</span>
            </td>
          </tr>
        )}
      </tbody>
    </table>
  );
}

/** The longest name: the first column is as wide as all rows need before all are drawn. */
function widest(rows: readonly Row[]): string {
  const names = rows.map(
    (row) => `${String(row["cause_workload"])} ${String(row["cause_namespace"])} ${kindOf(row, "cause")}`,
  );
  return names.reduce((longest, name) => (name.length > longest.length ? name : longest), "");
}
