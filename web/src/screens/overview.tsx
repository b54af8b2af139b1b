/** Which zones, which workloads, since when, and what it costs. */

import { useMemo, useRef } from "preact/hooks";
import { counted, hasBefore, known as knownPart, type Traffic, useAnswer } from "../api";
import { addressed, changed, format, moved, type Place, type Span } from "../address";
import { Flow, Matrix, type Cell } from "../charts/zones";
import { chartWidth } from "../charts/scale";
import { Stack } from "../charts/stack";
import { costOf, useShared } from "../context";
import { change, percent, size } from "../format";
import { Budgets } from "../parts/budgets";
import { Causers } from "../parts/causers";
import { Card, Choice, Copy, Csv, Filter, None, Nothing, Problem, Stale, Waiting } from "../parts/controls";
import { useKeys } from "../parts/keys";
import { Kept, Later } from "../parts/later";
import { Movers } from "../parts/movers";
import { Since } from "../parts/since";
import * as promql from "../promql";
import { cellWhere, CHART_POINTS, CROSSING, MOST, PLACED, traffic, ZONE_PAIRS } from "../queries";
import { filterOf, kindOf, layers, nameOf, workloadOf } from "../workloads";
import { Panel } from "./workload";

const SHOWN = 15;
const LAYERS = 5;
const EVERY = 30;
/** Workloads that have a series. */
const CAUSERS = 500;

/** The paths of what the overview asks: who caused it, between which zones, who sent and received it. */
export function questionsOf(place: Place, span: Span): Record<"causers" | "zones" | "sent" | "received", string> {
  const { ns = "", cell = "" } = place.options;
  const namespace = ns ? [`cause_namespace:${ns}`] : [];
  const where = [...CROSSING, ...namespace, ...cellWhere(cell)];
  return {
    causers: traffic(span, {
      by: workloadOf("cause"),
      where,
      limit: CAUSERS,
      points: CHART_POINTS,
      compare: true,
    }),
    zones: traffic(span, { by: ["src_zone", "dst_zone"], where: [...PLACED, ...namespace], limit: ZONE_PAIRS }),
    sent: traffic(span, { by: workloadOf("src"), where, limit: MOST }),
    received: traffic(span, { by: workloadOf("dst"), where, limit: MOST }),
  };
}

export function Overview() {
  const { place, go, span, zone, meta, names } = useShared();
  const { ns = "", q = "", cell = "", view = "matrix", w = "", kind = "", rows: wanted = "" } = place.options;
  const filter = [...(ns ? [`cause_namespace:${ns}`] : []), ...cellWhere(cell)];
  const paths = questionsOf(place, span);
  const causers = useAnswer<Traffic>(paths.causers, EVERY, true);
  const zones = useAnswer<Traffic>(paths.zones, EVERY, true);
  const sent = useAnswer<Traffic>(paths.sent, EVERY);
  const received = useAnswer<Traffic>(paths.received, EVERY);
  // For what is drawn less often than the place changes.
  const latest = useRef(place);
  latest.current = place;
  useKeys((event) => {
    if (event.key === "Escape" && w) go(changed(place, { w: "", kind: "" }));
  });

  const texts = useMemo(
    () => (causers.value?.rows ?? []).map((row) => `${nameOf(row, "cause")} ${kindOf(row, "cause")}`.toLowerCase()),
    [causers.value],
  );

  if (!causers.value || !zones.value) {
    const error = causers.error ?? zones.error;
    return error ? <Problem error={error} /> : <Waiting />;
  }
  const answer = causers.value;
  const seconds = counted(answer);
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
  const isWanted = filterOf(q);
  const rows = q ? answer.rows.filter((_, i) => isWanted(texts[i] ?? "")) : answer.rows;
  const most = wanted === "all" ? rows.length : SHOWN;
  const hidden = rows.slice(most);
  const priced = costOf(answer.total, seconds, meta.prices);
  const namespaces = [...new Set(answer.rows.map((row) => String(row["cause_namespace"] ?? "")))];
  const options = ns && !namespaces.includes(ns) ? [...namespaces, ns] : namespaces;
  const exported = traffic(
    span,
    { by: workloadOf("cause"), where: [...CROSSING, ...filter], limit: MOST },
  );
  const part = { namespace: ns || undefined, cell };
  const isNothing = zones.value.total.bytes === 0;
  const isOneZone = known.size < 2 && !isNothing;
  const choose = (one: string) => go(changed(latest.current, { cell: one }));

  return (
    <div class={w ? "beside" : ""}>
      <div class={`screen ${isOld ? "old" : ""}`} aria-busy={isOld}>
        <h1 class="hidden">Overview</h1>
        <Stale of={[causers, zones, sent, received]} />
        <Tiles answer={answer} all={zones.value.total.bytes} span={span} priced={priced} />
        <div class="two">
          <Card title="When" note={answer.rows.length ? `by workload that caused it, top ${Math.min(LAYERS, answer.rows.length)}` : undefined}>
            {answer.total.bytes === 0 ? (
              <NothingCrossed answer={answer} isOneZone={isOneZone} cells={cells} names={shownNames} />
            ) : (
              <Kept of={[answer, zone, span.name, ns, cell, !w]}>
                {() => (
                  <Stack
                    layers={layers(answer, "cause", LAYERS)}
                    from={answer.from}
                    step={answer.step}
                    part={knownPart(answer)}
                    gaps={answer.gaps}
                    zone={zone}
                    width={chartWidth(window.innerWidth, Boolean(w))}
                    label="Bytes a second across zones, by the workload that caused them"
                    query={promql.topCaused(LAYERS, span, part)}
                    onZoom={(from, to) =>
                      go(changed(latest.current, { range: "", from: String(from), to: String(to) }))
                    }
                  />
                )}
              </Kept>
            )}
            <Since answer={answer} />
          </Card>
          <Card
            title="Between which zones"
            tools={
              <>
                <Choice
                  label="View"
                  choices={[
                    ["matrix", "matrix"],
                    ["flow", "flow"],
                  ]}
                  value={view}
                  onChange={(name) => go(changed(place, { view: name === "matrix" ? "" : name }))}
                />
                <Copy text={ns ? null : promql.zones(span)} why="the metric of zones has no namespaces, that of pairs no traffic within a zone">
                  PromQL
                </Copy>
              </>
            }
          >
            {isNothing ? (
              <Nothing>Nothing was counted in this span; a minute is shown when it is over.</Nothing>
            ) : isOneZone ? (
              <Nothing>
                All nodes are in one zone{cells[0] ? ` (${shownNames.get([...known][0] ?? "") ?? ""})` : ""}:
                nothing can cross. {cells.map((one) => `${shownNames.get(one.src)} to ${shownNames.get(one.dst)}: ${size(one.bytes)}`).join("; ")}
              </Nothing>
            ) : (
              <Kept of={[zones.value, answer, meta, names, view, cell]}>
                {() =>
                  view === "flow" ? (
                    <Flow cells={cells} names={shownNames} chosen={cell} onChoose={choose} />
                  ) : (
                    <Matrix cells={cells} names={shownNames} chosen={cell} onChoose={choose} />
                  )
                }
              </Kept>
            )}
          </Card>
        </div>
        <Card
          title="Workloads that cause it"
          class="workloads"
          note={cell ? `${cellName(cell, shownNames)} alone` : "both ways of the connections that it opened"}
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
              <Copy text={promql.caused("increase", span, ["namespace", "workload"], part)}>PromQL</Copy>
              {priced && (
                <Copy
                  text={cell ? null : promql.cost(span, part)}
                  why="the metric of cost by workload has no zones"
                >
                  PromQL of cost
                </Copy>
              )}
              <Copy text={addressed(place)}>link</Copy>
            </>
          }
        >
          {!rows.length ? (
            <Nothing>{q ? `No workload has "${q}" in its name.` : "Nothing crossed zones in this span."}</Nothing>
          ) : (
            <Causers
              answer={answer}
              rows={rows}
              most={most}
              sent={sent.value}
              received={received.value}
              hasOthers={!q}
            />
          )}
          {hidden.length > 0 && (
            <button type="button" class="more" onClick={() => go(changed(place, { rows: "all" }))}>
              {hidden.length} more ({size(hidden.reduce((sum, row) => sum + row.bytes, 0))})
            </button>
          )}
        </Card>
        <Later>
          <Movers />
          <Budgets />
        </Later>
      </div>
      {w && <Panel key={`${kind}:${w}`} name={w} kind={kind} />}
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
  const source = meta.prices?.map((price) => `${price.list} of ${price.date}`).join(", ");
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
          ) : meta.prices && !total.bytes ? (
            <b>
              <None why="nothing crossed zones" />
            </b>
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
          <b>{total.bytes ? percent(three / total.bytes) : <None why="nothing crossed zones" />}</b>
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

function cellName(cell: string, names: ReadonlyMap<string, string>): string {
  const [src = "", dst = ""] = cell.split(">", 2);
  return `${names.get(src) ?? src} → ${names.get(dst) ?? dst}`;
}
