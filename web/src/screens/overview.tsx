/** Which zones, which workloads, since when, and what it costs. */

import { useEffect } from "preact/hooks";
import { counted, hasBefore, type Traffic, useAnswer } from "../api";
import { changed, format, moved, type Span } from "../address";
import { Flow, Matrix, type Cell } from "../charts/zones";
import { Spark } from "../charts/spark";
import { Stack } from "../charts/stack";
import { costOf, useShared } from "../context";
import { change, percent, size } from "../format";
import { Card, Choice, Copy, Csv, Filter, Nothing, Problem, Waiting } from "../parts/controls";
import { cellWhere, CHART_POINTS, CROSSING, PLACED, promql, traffic } from "../queries";
import { byName, layers, matches, nameOf } from "../workloads";
import { Panel } from "./workload";

const SHOWN = 15;
const LAYERS = 5;
const EVERY = 30;
const MOST = 500;

export function Overview() {
  const { place, go, span, zone, meta, names } = useShared();
  const { ns = "", q = "", cell = "", view = "matrix", w = "", rows: wanted = "" } = place.options;
  const filter = [...(ns ? [`cause_namespace:${ns}`] : []), ...cellWhere(cell)];
  const ask = (by: string[], where: string[], more: { limit?: number; points?: number; compare?: boolean }) =>
    traffic(span, { by, where, ...more });
  const causers = useAnswer<Traffic>(
    ask(["cause_namespace", "cause_workload"], [...CROSSING, ...filter], {
      limit: MOST,
      points: CHART_POINTS,
      compare: true,
    }),
    EVERY,
    true,
  );
  const scope = [...PLACED, ...(ns ? [`cause_namespace:${ns}`] : [])];
  const zones = useAnswer<Traffic>(ask(["src_zone", "dst_zone"], scope, { limit: 1000 }), EVERY, true);
  const sent = useAnswer<Traffic>(
    ask(["src_namespace", "src_workload"], [...CROSSING, ...filter], { limit: MOST }),
    EVERY,
  );
  const received = useAnswer<Traffic>(
    ask(["dst_namespace", "dst_workload"], [...CROSSING, ...filter], { limit: MOST }),
    EVERY,
  );
  useEffect(() => {
    const close = (event: KeyboardEvent) => {
      if (event.key === "Escape" && w) go(changed(place, { w: "" }));
    };
    document.addEventListener("keydown", close);
    return () => document.removeEventListener("keydown", close);
  }, [w, place]);

  if (!causers.value || !zones.value) {
    const error = causers.error ?? zones.error;
    return error ? <Problem error={error} /> : <Waiting />;
  }
  const answer = causers.value;
  const seconds = counted(answer);
  const isKept = hasBefore(answer);
  const isOld = causers.isOld || zones.isOld;
  const cells: Cell[] = zones.value.rows
    .filter((row) => row["src_zone"] !== "" || row["dst_zone"] !== "")
    .map((row) => ({
      src: String(row["src_zone"] ?? ""),
      dst: String(row["dst_zone"] ?? ""),
      bytes: row.bytes,
      cost: costOf(row, seconds, meta.prices)?.text ?? "",
    }));
  const known = new Set(cells.flatMap((one) => [one.src, one.dst]).filter(Boolean));
  const shownNames = new Map([...known, ""].map((name) => [name, names.get(name) ?? (name || "outside")]));
  const rows = answer.rows.filter((row) => matches(nameOf(row, "cause"), q));
  const most = wanted === "all" ? rows.length : SHOWN;
  const hidden = rows.slice(most);
  const [sentBy, receivedBy] = [byName(sent.value?.rows ?? [], "src"), byName(received.value?.rows ?? [], "dst")];
  const priced = costOf(answer.total, seconds, meta.prices);
  const largest = Math.max(...rows.map((row) => row.bytes), 1);
  const namespaces = [...new Set(answer.rows.map((row) => String(row["cause_namespace"] ?? "")))];
  const options = ns && !namespaces.includes(ns) ? [...namespaces, ns] : namespaces;
  const exported = traffic(
    span,
    { by: ["cause_namespace", "cause_workload"], where: [...CROSSING, ...filter], limit: 10_000 },
  );
  const isOneZone = known.size < 2;

  return (
    <div class={w ? "beside" : ""}>
      <div class={`screen ${isOld ? "old" : ""}`} aria-busy={isOld}>
        <h1 class="hidden">Overview</h1>
        <Tiles answer={answer} all={zones.value.total.bytes} span={span} priced={priced} />
        <div class="two">
          <Card title="When" note={`by workload that caused it, top ${Math.min(LAYERS, answer.rows.length)}`}>
            {answer.total.bytes === 0 ? (
              <NothingCrossed answer={answer} isOneZone={isOneZone} cells={cells} names={shownNames} />
            ) : (
              <Stack
                layers={layers(answer, "cause", LAYERS)}
                from={answer.from}
                step={answer.step}
                gaps={gapsOf(answer)}
                zone={zone}
                label="Bytes a second across zones, by the workload that caused them"
                onZoom={(from, to) => go(changed(place, { range: "", from: String(from), to: String(to) }))}
              />
            )}
            <Since answer={answer} />
          </Card>
          <Card
            title="Between which zones"
            tools={
              <Choice
                label="View"
                choices={[
                  ["matrix", "matrix"],
                  ["flow", "flow"],
                ]}
                value={view}
                onChange={(name) => go(changed(place, { view: name === "matrix" ? "" : name }))}
              />
            }
          >
            {isOneZone ? (
              <Nothing>
                All nodes are in one zone{cells[0] ? ` (${shownNames.get([...known][0] ?? "") ?? ""})` : ""}:
                nothing can cross. {cells.map((one) => `${shownNames.get(one.src)} to ${shownNames.get(one.dst)}: ${size(one.bytes)}`).join("; ")}
              </Nothing>
            ) : view === "flow" ? (
              <Flow cells={cells} names={shownNames} chosen={cell} onChoose={(one) => go(changed(place, { cell: one }))} />
            ) : (
              <Matrix cells={cells} names={shownNames} chosen={cell} onChoose={(one) => go(changed(place, { cell: one }))} />
            )}
          </Card>
        </div>
        <Card
          title="Workloads that cause it"
          class="workloads"
          note={cell ? `${cellName(cell, shownNames)} alone` : undefined}
          tools={
            <>
              <Filter value={q} label="Filter workloads" onChange={(text) => go(changed(place, { q: text }), true)} />
              <select
                aria-label="Namespace"
                value={ns}
                onChange={(event) => go(changed(place, { ns: event.currentTarget.value }))}
              >
                <option value="">all namespaces</option>
                {options
                  .filter(Boolean)
                  .sort()
                  .map((name) => (
                    <option key={name} value={name}>
                      {name}
                    </option>
                  ))}
              </select>
              <Csv path={exported} name="workloads.csv" />
              <Copy text={promql("")}>PromQL</Copy>
              <Copy text={location.href}>link</Copy>
            </>
          }
        >
          {!rows.length ? (
            <Nothing>{q ? `No workload has "${q}" in its name.` : "Nothing crossed zones in this span."}</Nothing>
          ) : (
            <table class="list">
              <thead>
                <tr>
                  <th scope="col">Workload</th>
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
                  <th scope="col" class="number w1">
                    vs. before
                  </th>
                  <th scope="col" class="w4">
                    Share
                  </th>
                </tr>
              </thead>
              <tbody>
                {rows.slice(0, most).map((row) => {
                  const name = nameOf(row, "cause");
                  const turn = isKept ? change(row.bytes, row.before) : "";
                  return (
                    <tr key={name} class={name === w ? "chosen" : ""}>
                      <th scope="row">
                        <a href={format(changed(place, { w: name }))}>{String(row["cause_workload"] || "outside")}</a>{" "}
                        <span class="soft">{String(row["cause_namespace"] ?? "")}</span>
                      </th>
                      <td class="w3">
                        <Spark series={row.series ?? []} />
                      </td>
                      <td class="number">
                        <b>{size(row.bytes)}</b>
                      </td>
                      <td class="number w2">{sent.value ? size(sentBy.get(name)?.bytes ?? 0) : "…"}</td>
                      <td class="number w2">{received.value ? size(receivedBy.get(name)?.bytes ?? 0) : "…"}</td>
                      {priced && (
                        <td class="number" title={row.unpriced_bytes ? `${size(row.unpriced_bytes)} have no price` : undefined}>
                          {costOf(row, seconds, meta.prices)?.month ?? "no price"}
                        </td>
                      )}
                      <td class={`number w1 ${turn.startsWith("+") ? "up" : turn.startsWith("−") ? "down" : ""}`}>{turn}</td>
                      <td class="w4 share">
                        <i style={{ "--share": (row.bytes / largest).toFixed(4) }} />
                        <span>{percent(row.bytes / Math.max(answer.total.bytes, 1))}</span>
                      </td>
                    </tr>
                  );
                })}
                {answer.other.bytes > 0 && !q && (
                  <tr class="other">
                    <th scope="row">{answer.of - answer.rows.length > 0 ? `${answer.of - answer.rows.length} others` : "others"}</th>
                    <td class="w3" />
                    <td class="number">{size(answer.other.bytes)}</td>
                  </tr>
                )}
              </tbody>
            </table>
          )}
          {hidden.length > 0 && (
            <button type="button" class="more" onClick={() => go(changed(place, { rows: "all" }))}>
              {hidden.length} more ({size(hidden.reduce((sum, row) => sum + row.bytes, 0))})
            </button>
          )}
        </Card>
      </div>
      {w && <Panel key={w} name={w} />}
    </div>
  );
}

function Tiles(props: {
  answer: Traffic;
  all: number;
  span: Span;
  priced: ReturnType<typeof costOf>;
}) {
  const { place, meta } = useShared();
  const { answer, all, span, priced } = props;
  const total = answer.total;
  const turn = hasBefore(answer) ? change(total.bytes, total.before) : "";
  const three = answer.rows.slice(0, 3).reduce((sum, row) => sum + row.bytes, 0);
  const source = meta.prices?.map((price) => `${price.list} of ${price.valid_from}`).join(", ");
  return (
    <dl class="tiles">
      <div>
        <dt>Across zones{span.name === "custom" ? "" : `, ${span.name}`}</dt>
        <dd>
          <b>{size(total.bytes)}</b> of {size(all)}
        </dd>
      </div>
      <div>
        <dt>Costs</dt>
        <dd>
          {priced ? (
            <>
              <b>{priced.text}</b> ≈ {priced.month} a month
              <small>{priced.amount === 0 ? `free here (${source})` : `prices: ${source}`}</small>
            </>
          ) : (
            <a href={format(moved(place, "prices"))}>{meta.prices ? "no price for this traffic" : "no prices"}</a>
          )}
        </dd>
      </div>
      <div>
        <dt>Period before</dt>
        <dd>
          {turn ? (
            <>
              <b class={turn.startsWith("+") ? "up" : turn.startsWith("−") ? "down" : ""}>{turn}</b>{" "}
              {size(total.before ?? 0)}
            </>
          ) : (
            "not kept"
          )}
        </dd>
      </div>
      <div>
        <dt>{answer.rows.length < 3 ? "The largest cause" : "Three workloads cause"}</dt>
        <dd>
          <b>{total.bytes ? percent(three / total.bytes) : "–"}</b>
        </dd>
      </div>
    </dl>
  );
}

function NothingCrossed(props: {
  answer: Traffic;
  isOneZone: boolean;
  cells: readonly Cell[];
  names: ReadonlyMap<string, string>;
}) {
  if (props.isOneZone) return <Nothing>All nodes are in one zone: nothing can cross.</Nothing>;
  const inside = props.cells.filter((one) => one.src === one.dst).reduce((sum, one) => sum + one.bytes, 0);
  return (
    <Nothing>
      Nothing crossed zones in this span{inside ? `; ${size(inside)} stayed within one` : ""}.
    </Nothing>
  );
}

function Since({ answer }: { answer: Traffic }) {
  const { zone } = useShared();
  const from = answer.complete_from;
  if (from === null || from <= answer.from + answer.step) return null;
  const at = new Date(from * 1000);
  const text = zone === "utc" ? at.toISOString().replace("T", " ").slice(0, 16) + " UTC" : at.toLocaleString();
  return <p class="note">counted since {text}; what was before is not there</p>;
}

function gapsOf(answer: Traffic) {
  const early =
    answer.complete_from !== null && answer.complete_from > answer.from + answer.step
      ? [{ from: answer.from, to: answer.complete_from, reason: "before the first minute that is kept" }]
      : [];
  return [...early, ...answer.gaps];
}

function cellName(cell: string, names: ReadonlyMap<string, string>): string {
  const [src = "", dst = ""] = cell.split(">", 2);
  return `${names.get(src) ?? src} → ${names.get(dst) ?? dst}`;
}
