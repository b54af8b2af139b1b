/** Source by one dimension, destination by another. */

import { counted, hasBefore, label, type Traffic, useAnswer } from "../api";
import { changed } from "../address";
import { Spark } from "../charts/spark";
import { costOf, useShared } from "../context";
import { change, size } from "../format";
import { Card, Choice, Copy, Csv, Filter, Nothing, Problem, Scroll, Waiting } from "../parts/controls";
import { CROSSING, POINTS, traffic } from "../queries";
import { matches } from "../workloads";

const ENDS = ["workload", "namespace", "pod", "node", "zone", "address"] as const;
const EVERY = 30;

function dimensions(side: "src" | "dst", end: string): string[] {
  return end === "workload" || end === "pod" ? [`${side}_namespace`, `${side}_${end}`] : [`${side}_${end}`];
}

export function Pairs() {
  const { place, go, span, meta } = useShared();
  const { src = "workload", dst = "workload", split = "", scope = "crossing", q = "" } = place.options;
  const by = [...dimensions("src", src), ...dimensions("dst", dst), ...(split ? [split] : [])];
  const where = scope === "all" ? [] : CROSSING;
  const answer = useAnswer<Traffic>(traffic(span, { by, where, limit: 500, points: POINTS, compare: true }), EVERY);
  const csv = traffic(span, { by, where, limit: 10_000 });
  const choose = (name: string, value: string) => (
    <label>
      {name === "src" ? "source by" : "destination by"}{" "}
      <select value={value} onChange={(event) => go(changed(place, { [name]: event.currentTarget.value }))}>
        {ENDS.map((end) => (
          <option key={end}>{end}</option>
        ))}
      </select>
    </label>
  );
  return (
    <div class="screen">
      <h1 class="hidden">Pairs</h1>
      <Card
        title="Pairs"
        tools={
          <>
            {choose("src", src)}
            {choose("dst", dst)}
            <label>
              and{" "}
              <select value={split} onChange={(event) => go(changed(place, { split: event.currentTarget.value }))}>
                <option value="">nothing else</option>
                {["port", "protocol", "class", "initiator"].map((name) => (
                  <option key={name}>{name}</option>
                ))}
              </select>
            </label>
            <Choice
              label="Scope"
              choices={[
                ["crossing", "across zones"],
                ["all", "all"],
              ]}
              value={scope}
              onChange={(name) => go(changed(place, { scope: name === "all" ? name : "" }))}
            />
            <Filter value={q} label="Filter pairs" onChange={(text) => go(changed(place, { q: text }), true)} />
            <Csv path={csv} name="pairs.csv" />
            <Copy text={location.href}>link</Copy>
          </>
        }
      >
        {!answer.value ? (
          answer.error ? (
            <Problem error={answer.error} />
          ) : (
            <Waiting />
          )
        ) : (
          <Rows answer={answer.value} by={by} q={q} src={src} dst={dst} split={split} prices={meta.prices !== null} />
        )}
      </Card>
    </div>
  );
}

function Rows(props: {
  answer: Traffic;
  by: readonly string[];
  q: string;
  src: string;
  dst: string;
  split: string;
  prices: boolean;
}) {
  const { meta } = useShared();
  const { answer, q, src, dst, split } = props;
  const name = (row: Traffic["rows"][number], side: "src" | "dst", end: string) =>
    dimensions(side, end)
      .map((one) => label(row, one))
      .filter(Boolean)
      .join("/") || "outside";
  const rows = answer.rows.filter((row) =>
    matches(`${name(row, "src", src)} ${name(row, "dst", dst)} ${split ? label(row, split) : ""}`, q),
  );
  if (!rows.length)
    return <Nothing>{q ? `No pair has "${q}" in its names.` : "There is no such traffic in this span."}</Nothing>;
  const seconds = counted(answer);
  const isKept = hasBefore(answer);
  const hasCost = props.prices && costOf(answer.total, seconds, meta.prices) !== null;
  return (
    <Scroll label="pairs">
      <table class="list">
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">To</th>
            {split && <th scope="col">{split}</th>}
            <th scope="col" class="w3">
              when
            </th>
            <th scope="col" class="number" aria-sort="descending">
              Bytes ↓
            </th>
            {hasCost && (
              <th scope="col" class="number">
                A month
              </th>
            )}
            <th scope="col" class="number w1">
              vs. before
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i}>
              <th scope="row">{name(row, "src", src)}</th>
              <td>{name(row, "dst", dst)}</td>
              {split && <td>{label(row, split)}</td>}
              <td class="w3">
                <Spark series={row.series ?? []} />
              </td>
              <td class="number">
                <b>{size(row.bytes)}</b>
              </td>
              {hasCost && <td class="number">{costOf(row, seconds, meta.prices)?.month ?? "no price"}</td>}
              <td class="number w1">{isKept ? change(row.bytes, row.before) : ""}</td>
            </tr>
          ))}
          {answer.other.bytes > 0 && !q && (
            <tr class="other">
              <th scope="row">{answer.of - answer.rows.length} others</th>
              <td />
              {split && <td />}
              <td class="w3" />
              <td class="number">{size(answer.other.bytes)}</td>
            </tr>
          )}
          <tr class="other">
            <th scope="row">all</th>
            <td />
            {split && <td />}
            <td class="w3" />
            <td class="number">
              <b>{size(answer.total.bytes)}</b>
            </td>
          </tr>
        </tbody>
      </table>
    </Scroll>
  );
}
