/** Source by one dimension, destination by another. */

import { counted, hasBefore, known, label, type Row, type Sums, type Traffic, useAnswer } from "../api";
import { addressed, changed, format, moved, oneOf } from "../address";
import { Spark } from "../charts/spark";
import { costOf, useShared } from "../context";
import { change, size } from "../format";
import { Card, Choice, Copy, Csv, Filter, Kind, Name, None, Nothing, Problem, Scroll, Stale, Waiting } from "../parts/controls";
import * as promql from "../promql";
import { CROSSING, MOST, POINTS, traffic } from "../queries";
import { kindOf, matches, nameOf as workloadName, workloadOf } from "../workloads";

const ENDS = ["workload", "namespace", "pod", "node", "zone", "address"] as const;
const SPLITS = ["", "port", "protocol", "class", "initiator"] as const;
const EVERY = 30;
const SHOWN = 50;

function dimensions(side: "src" | "dst", end: string): string[] {
  if (end === "workload") return workloadOf(side);
  return end === "pod" ? [`${side}_namespace`, `${side}_pod`] : [`${side}_${end}`];
}

/** Namespace and name of one end, without its kind. */
function nameOf(row: Row, side: "src" | "dst", end: string): string {
  const names = dimensions(side, end).filter((one) => one !== `${side}_workload_kind`);
  return names.map((one) => label(row, one)).filter(Boolean).join("/") || "outside";
}

/** One end; a workload leads to its page. */
function End({ row, side, end }: { row: Row; side: "src" | "dst"; end: string }) {
  const { place } = useShared();
  const [name, kind] = [nameOf(row, side, end), kindOf(row, side)];
  if (end !== "workload" || !label(row, `${side}_workload`)) return <Name of={name} />;
  return (
    <>
      <a href={format(moved(place, "workload", workloadName(row, side), kind))}><Name of={name} /></a> <Kind of={kind} />
    </>
  );
}

export function Pairs() {
  const { place, go, span, meta } = useShared();
  const { scope = "crossing", q = "" } = place.options;
  const [src, dst, split] = [oneOf(place, "src", ENDS), oneOf(place, "dst", ENDS), oneOf(place, "split", SPLITS)];
  const by = [...dimensions("src", src), ...dimensions("dst", dst), ...(split ? [split] : [])];
  const where = scope === "all" ? [] : CROSSING;
  const answer = useAnswer<Traffic>(traffic(span, { by, where, limit: 500, points: POINTS, compare: true }), EVERY);
  const csv = traffic(span, { by, where, limit: MOST });
  const { query, missing } = promql.pairs(span, by);
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
                {SPLITS.slice(1).map((name) => (
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
            <Copy
              text={scope === "all" ? null : query}
              why={scope === "all" ? "the metric of pairs has those across zones alone" : `no metric of pairs has ${missing}`}
            >
              PromQL
            </Copy>
            <Copy text={addressed(place)}>link</Copy>
          </>
        }
      >
        <Stale of={[answer]} />
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
  const { meta, place, go } = useShared();
  const { answer, q, src, dst, split } = props;
  const rows = answer.rows.filter((row) =>
    matches(`${nameOf(row, "src", src)} ${kindOf(row, "src")} ${nameOf(row, "dst", dst)} ${kindOf(row, "dst")} ${split ? label(row, split) : ""}`, q),
  );
  if (!rows.length)
    return <Nothing>{q ? `No pair has "${q}" in its names.` : "There is no such traffic in this span."}</Nothing>;
  const seconds = counted(answer);
  const isKept = hasBefore(answer);
  const part = known(answer);
  const hasCost = props.prices && costOf(answer.total, seconds, meta.prices) !== null;
  const listed = place.options["rows"] === "all" ? rows : rows.slice(0, SHOWN);
  const hidden = rows.slice(listed.length);
  const together = (name: string, sums: Sums) => (
    <tr class="other">
      <th scope="row" colSpan={split ? 3 : 2}>
        {name}
      </th>
      <td class="w3">
        <Spark series={sums.series ?? []} part={part} />
      </td>
      <td class="number">
        <b>{size(sums.bytes)}</b>
      </td>
      {hasCost && <td class="number">{costOf(sums, seconds, meta.prices)?.month ?? "no price"}</td>}
      {isKept && <td class="number w1">{change(sums.bytes, sums.before) || <None why="not kept" />}</td>}
    </tr>
  );
  return (
    <>
    <Scroll label="pairs">
      <table class="list pairs">
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col" class="to">To</th>
            {split && <th scope="col" class="split">{split}</th>}
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
            {isKept && (
              <th scope="col" class="number w1">
                vs. before
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {listed.map((row) => (
            <tr key={props.by.map((one) => label(row, one)).join("\n")}>
              <th scope="row">
                <End row={row} side="src" end={src} />
              </th>
              <td class="to">
                <End row={row} side="dst" end={dst} />
              </td>
              {split && <td class="word split">{label(row, split) || <None why={`its ${split} is not known`} />}</td>}
              <td class="w3">
                <Spark series={row.series ?? []} part={part} />
              </td>
              <td class="number">
                <b>{size(row.bytes)}</b>
              </td>
              {hasCost && <td class="number">{costOf(row, seconds, meta.prices)?.month ?? "no price"}</td>}
              {isKept && <td class="number w1">{change(row.bytes, row.before) || <None why="not kept" />}</td>}
            </tr>
          ))}
          {answer.other.bytes > 0 && !q && together(`${answer.of - answer.rows.length} others`, answer.other)}
          {together("all", answer.total)}
        </tbody>
      </table>
    </Scroll>
    {hidden.length > 0 && (
      <button type="button" class="more" onClick={() => go(changed(place, { rows: "all" }))}>
        {hidden.length} more ({size(hidden.reduce((sum, row) => sum + row.bytes, 0))})
      </button>
    )}
    </>
  );
}
