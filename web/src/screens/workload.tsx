/** One workload: when, between which zones, with whom and who asked; then pods and ports. */

import { counted, hasBefore, known, label, type Row, type Traffic, useAnswer } from "../api";
import { changed, countOf, format, halves, moved } from "../address";
import { Matrix } from "../charts/zones";
import { Stack } from "../charts/stack";
import { costOf, useShared } from "../context";
import { change, grouped, percent, size } from "../format";
import { Card, Copy, Csv, Kind, Name, None, Nothing, Problem, Scroll, sizeOf, Stale, Waiting } from "../parts/controls";
import { type Advice, advicePath, Footing, NoProposal, Proposals, saving } from "../parts/proposals";
import { Since } from "../parts/since";
import * as promql from "../promql";
import { CHART_POINTS, CROSSING, MOST, type Question, traffic, ZONE_PAIRS } from "../queries";
import { keyOf, kindOf, nameOf, shown, workloadOf } from "../workloads";

const EVERY = 30;
const SHOWN = 12;
const PORTS = 100;

type Side = "cause" | "src" | "dst";

/** Filters that choose one end's workload. */
function whereOf(name: string, kind: string, side: Side): string[] {
  const [namespace, workload] = halves(name);
  return [
    `${side}_namespace:${namespace}`,
    `${side}_workload:${workload}`,
    ...(kind ? [`${side}_workload_kind:${kind}`] : []),
  ];
}

/** What is asked of a workload: what it caused between zones, and its peers both ways. */
export function questionsOf(name: string, kind: string): Record<"caused" | "sent" | "received", Question> {
  const where = (side: Side) => [...CROSSING, ...whereOf(name, kind, side)];
  return {
    caused: { by: ["src_zone", "dst_zone"], where: where("cause"), limit: ZONE_PAIRS, points: CHART_POINTS, compare: true },
    sent: { by: [...workloadOf("dst"), "initiator"], where: where("src"), limit: MOST },
    received: { by: [...workloadOf("src"), "initiator"], where: where("dst"), limit: MOST },
  };
}

function useWorkload(name: string, kind: string) {
  const { span } = useShared();
  const { caused, sent, received } = questionsOf(name, kind);
  return {
    caused: useAnswer<Traffic>(traffic(span, caused), EVERY),
    sent: useAnswer<Traffic>(traffic(span, sent), EVERY),
    received: useAnswer<Traffic>(traffic(span, received), EVERY),
  };
}

/** The short view beside the overview. */
export function Panel({ name, kind }: { name: string; kind: string }) {
  const { place, go } = useShared();
  return (
    <aside class="panel card" aria-label={shown(name)}>
      <header>
        <h2>{halves(name)[1]}</h2>
        <span class="note">{halves(name)[0]}</span> <Kind of={kind} />
        <div class="tools">
          <a class="button" href={format(moved(place, "workload", name, kind))}>
            pods and ports
          </a>
          <button type="button" aria-label="close" onClick={() => go(changed(place, { w: "", kind: "", peers: "" }))}>
            ✕
          </button>
        </div>
      </header>
      <Hints name={name} />
      <Summary name={name} kind={kind} />
    </aside>
  );
}

/** The page of one workload. */
export function Workload() {
  const { place } = useShared();
  const name = place.workload;
  const { kind = "" } = place.options;
  return (
    <div class="screen">
      <h1>
        {halves(name)[1]} <span class="soft">{halves(name)[0]}</span> <Kind of={kind} />
      </h1>
      <Card title="Across zones">
        <Summary name={name} kind={kind} />
      </Card>
      <Card title="Advice" note="what would keep its traffic in one zone">
        <Advised name={name} />
      </Card>
      <Ports name={name} kind={kind} side="src" />
      <Ports name={name} kind={kind} side="dst" />
    </div>
  );
}

function Summary({ name, kind }: { name: string; kind: string }) {
  const { zone, meta, names, go, place, span } = useShared();
  const { caused, sent, received } = useWorkload(name, kind);
  if (!caused.value) return caused.error ? <Problem error={caused.error} /> : <Waiting />;
  const answer = caused.value;
  const seconds = counted(answer);
  const cost = costOf(answer.total, seconds, meta.prices);
  const unknown = [...(sent.value?.rows ?? [])]
    .filter((row) => row["initiator"] === "unknown")
    .reduce((sum, row) => sum + row.bytes, 0);
  const values = answer.total.series ?? [];
  const [namespace, workload] = halves(name);
  const part = { namespace, workload };
  return (
    <>
      <Stale of={[caused, sent, received]} />
      <dl class="facts">
        <div>
          <dt>Caused</dt>
          <dd>
            <b>{size(answer.total.bytes)}</b>{" "}
            {hasBefore(answer) ? change(answer.total.bytes, answer.total.before) : ""}
          </dd>
        </div>
        <div>
          <dt>Sent / received</dt>
          <dd>
            <b>{sent.value ? size(sent.value.total.bytes) : "…"}</b> /{" "}
            {received.value ? size(received.value.total.bytes) : "…"}
          </dd>
        </div>
        {cost && (
          <div>
            <dt>A month</dt>
            <dd>
              <b>{cost.month}</b>
            </dd>
          </div>
        )}
      </dl>
      <Since answer={answer} />
      {answer.total.bytes > 0 ? (
        <>
          <Stack
            layers={[{ name: "caused across zones", values, colour: 1 }]}
            from={answer.from}
            step={answer.step}
            part={known(answer)}
            gaps={answer.gaps}
            zone={zone}
            height={150}
            label={`Bytes a second that ${shown(name)} causes across zones`}
            query={promql.caused("rate", span, ["namespace", "workload"], part)}
            onZoom={(from, to) => go(changed(place, { range: "", from: String(from), to: String(to) }))}
          />
          <h3>
            What it causes, between zones
            <Copy quiet text={promql.caused("increase", span, ["src_zone", "dst_zone"], part)}>
              PromQL
            </Copy>
          </h3>
          <Matrix
            cells={answer.rows.map((row) => ({
              src: label(row, "src_zone"),
              dst: label(row, "dst_zone"),
              bytes: row.bytes,
              cost: costOf(row, seconds, meta.prices)?.text ?? "",
            }))}
            names={names}
            chosen={place.screen === "overview" ? (place.options["cell"] ?? "") : ""}
            onChoose={(cell) => go(changed(moved(place, "overview"), { ...place.options, cell }))}
          />
        </>
      ) : (
        <Nothing>It opened no connection across zones in this span.</Nothing>
      )}
      <h3>
        With whom
        <Copy quiet text={promql.peers(span, part.namespace, part.workload, "src")}>
          PromQL of sent
        </Copy>
        <Copy quiet text={promql.peers(span, part.namespace, part.workload, "dst")}>
          PromQL of received
        </Copy>
      </h3>
      <Peers sent={sent.value} received={received.value} />
      {unknown > 0 && (
        <p class="note">
          {size(unknown)} of what it sent is of connections whose opener is not known; it counts as the sender's.
        </p>
      )}
      <p class="tools">
        <Copy text={location.href}>link</Copy>
      </p>
    </>
  );
}

function useAdvice(name: string) {
  const { span } = useShared();
  return useAnswer<Advice>(advicePath(span, name), 300);
}

function Advised({ name }: { name: string }) {
  const { value, error } = useAdvice(name);
  if (!value) return error ? <Problem error={error} /> : <Waiting />;
  return (
    <>
      {value.proposals.length ? <Proposals proposals={value.proposals} /> : <NoProposal advice={value} />}
      <Footing advice={value} />
    </>
  );
}

/** The titles alone; nothing where there are none. */
function Hints({ name }: { name: string }) {
  const { place } = useShared();
  const { value } = useAdvice(name);
  if (!value?.proposals.length) return null;
  return (
    <ul class="hints" aria-label="Advice">
      {value.proposals.map((one) => (
        <li key={one.id}>
          <a href={format(changed(moved(place, "advice"), { open: one.id }))}>{one.title}</a>{" "}
          {one.saved_bytes_per_month > 0 && (
            <>
              <b class="number">{saving(one)}</b>
              <span class="soft"> a month</span>
            </>
          )}
        </li>
      ))}
    </ul>
  );
}

interface Peer {
  name: string;
  kind: string;
  /** Null if it may be among the groups that the answer has no rows of. */
  sent: number | null;
  received: number | null;
  own: number;
  theirs: number;
}

/** Peers by what went either way. */
export function peersOf(sent: Pick<Traffic, "rows" | "of">, received: Pick<Traffic, "rows" | "of">): Peer[] {
  const found = new Map<string, Peer>();
  const least = ({ rows, of }: Pick<Traffic, "rows" | "of">) => (of > rows.length ? null : 0);
  const [leastSent, leastReceived] = [least(sent), least(received)];
  const add = (row: Row, end: "src" | "dst") => {
    const key = keyOf(row, end);
    const peer = found.get(key) ?? {
      name: nameOf(row, end),
      kind: kindOf(row, end),
      sent: leastSent,
      received: leastReceived,
      own: 0,
      theirs: 0,
    };
    if (end === "dst") peer.sent = (peer.sent ?? 0) + row.bytes;
    else peer.received = (peer.received ?? 0) + row.bytes;
    const opener = row["initiator"];
    const isOwn = opener === (end === "dst" ? "source" : "destination");
    if (isOwn) peer.own += row.bytes;
    else if (opener !== "unknown") peer.theirs += row.bytes;
    found.set(key, peer);
  };
  for (const row of sent.rows) add(row, "dst");
  for (const row of received.rows) add(row, "src");
  return [...found.values()].sort((a, b) => whole(b) - whole(a));
}

function whole(peer: Peer): number {
  return (peer.sent ?? 0) + (peer.received ?? 0);
}

function asked(peer: Peer): string {
  if (peer.own && peer.theirs) return "both";
  return peer.own ? "this workload" : peer.theirs ? "the peer" : "not known";
}

function Peers({ sent, received }: { sent: Traffic | null; received: Traffic | null }) {
  const { place, go } = useShared();
  const link = ({ name, kind }: Peer) =>
    format(
      place.screen === "overview"
        ? changed(place, { w: name, kind, peers: "" })
        : moved(place, "workload", name, kind),
    );
  if (!sent || !received) return <Waiting />;
  const peers = peersOf(sent, received);
  if (!peers.length) return <Nothing>Nothing crossed zones.</Nothing>;
  const largest = whole(peers[0] as Peer);
  const rest = sent.other.bytes + received.other.bytes;
  const isAll = place.options["peers"] === "all";
  const listed = isAll ? peers : peers.slice(0, SHOWN);
  const hidden = peers.slice(listed.length);
  const left = hidden.reduce((sum, peer) => sum + whole(peer), rest);
  const unlisted = Math.max(sent.of - sent.rows.length, received.of - received.rows.length);
  const count = unlisted > 0 ? `more than ${hidden.length}` : hidden.length;
  return (
    <>
    <table class="list peers">
      <thead>
        <tr>
          <th scope="col">Peer</th>
          <th scope="col" class="number">
            sent
          </th>
          <th scope="col" class="number">
            received
          </th>
          <th scope="col">who asked</th>
        </tr>
      </thead>
      <tbody>
        {listed.map((peer) => (
          <tr key={`${peer.kind}:${peer.name}`}>
            <th scope="row">
              {peer.name === "/" ? "outside" : <a href={link(peer)}><Name of={shown(peer.name)} /></a>}{" "}
              <Kind of={peer.kind} />
              <i class="bar" style={{ "--share": (whole(peer) / largest).toFixed(4) }} />
            </th>
            <td class="number">{sizeOf(peer.sent, sent)}</td>
            <td class="number">{sizeOf(peer.received, received)}</td>
            <td class="word">{asked(peer)}</td>
          </tr>
        ))}
        {left > 0 && (
          <tr class="other">
            <th scope="row">{hidden.length ? `${count} others` : "others"}</th>
            <td class="number" colSpan={2}>
              {size(left)}
            </td>
            <td class="word">
              <None why="these are several" />
            </td>
          </tr>
        )}
      </tbody>
    </table>
    {!isAll && left > 0 && (
      <button type="button" class="more asks" onClick={() => go(changed(place, { peers: "all" }))}>
        show all peers
      </button>
    )}
    </>
  );
}

function Ports({ name, kind, side }: { name: string; kind: string; side: "src" | "dst" }) {
  const { span, place, go } = useShared();
  const most = countOf(place, "ports", PORTS, MOST);
  const peer = side === "src" ? "dst" : "src";
  const by = [`${side}_pod`, `${side}_node`, ...workloadOf(peer), "port", "protocol"];
  const where = [...CROSSING, ...whereOf(name, kind, side)];
  const answer = useAnswer<Traffic>(traffic(span, { by, where, limit: most }), EVERY, true);
  const title = side === "src" ? "What its pods send" : "What its pods receive";
  const csv = traffic(span, { by, where, limit: MOST });
  const left = answer.value ? answer.value.of - answer.value.rows.length : 0;
  return (
    <Card
      title={title}
      note="by pod, peer and port"
      tools={
        <Csv path={csv} name={`${side}-ports.csv`} />
      }
    >
      {!answer.value ? (
        answer.error ? (
          <Problem error={answer.error} />
        ) : (
          <Waiting />
        )
      ) : !answer.value.rows.length ? (
        <Nothing>{side === "src" ? "It sent nothing across zones." : "It received nothing across zones."}</Nothing>
      ) : (
        <Scroll label={title}>
          <table class="list">
            <thead>
              <tr>
                <th scope="col">Pod</th>
                <th scope="col" class="w2">Node</th>
                <th scope="col">Peer</th>
                <th scope="col">Port</th>
                <th scope="col" class="number">
                  Bytes
                </th>
                <th scope="col" class="number w1">
                  Share
                </th>
              </tr>
            </thead>
            <tbody>
              {answer.value.rows.map((row, i) => (
                <tr key={i}>
                  <th scope="row">{label(row, `${side}_pod`) || <None why="no pod is known" />}</th>
                  <td class="w2">{label(row, `${side}_node`) || <None why="no node is known" />}</td>
                  <td>
                    <Name of={shown(nameOf(row, peer))} /> <Kind of={kindOf(row, peer)} />
                  </td>
                  <td class="word">
                    {label(row, "port")}/{label(row, "protocol")}
                  </td>
                  <td class="number">{size(row.bytes)}</td>
                  <td class="number w1">{percent(row.bytes / Math.max(answer.value?.total.bytes ?? 0, 1))}</td>
                </tr>
              ))}
              {answer.value.other.bytes > 0 && (
                <tr class="other">
                  <th scope="row">{answer.value.of - answer.value.rows.length} others</th>
                  <td class="w2">
                    <None why="these are several" />
                  </td>
                  <td>
                    <None why="these are several" />
                  </td>
                  <td>
                    <None why="these are several" />
                  </td>
                  <td class="number">{size(answer.value.other.bytes)}</td>
                  <td class="number w1">{percent(answer.value.other.bytes / Math.max(answer.value.total.bytes, 1))}</td>
                </tr>
              )}
            </tbody>
          </table>
        </Scroll>
      )}
      {answer.value?.source === "memory" && (
        <p class="note">
          The last hour in the server's memory has no pods and nodes: they come with <code>kzn server --history DIR</code>.
        </p>
      )}
      {answer.value && <Since answer={answer.value} what="pods are known" />}
      {left > 0 && most < MOST && (
        <button type="button" class="more asks" onClick={() => go(changed(place, { ports: String(most * 10) }))}>
          show {grouped(Math.min(left, most * 9), 0)} more
        </button>
      )}
      {left > 0 && most === MOST && <p class="note">A screen has {grouped(MOST, 0)} rows at most: choose a shorter span.</p>}
    </Card>
  );
}
