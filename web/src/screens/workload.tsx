/** One workload: when, between which zones, with whom and who asked; then pods and ports. */

import { counted, hasBefore, label, type Row, type Traffic, useAnswer } from "../api";
import { changed, format, halves, moved } from "../address";
import { Matrix } from "../charts/zones";
import { Stack } from "../charts/stack";
import { costOf, useShared } from "../context";
import { change, percent, size } from "../format";
import { Card, Copy, Csv, Nothing, Problem, Scroll, Waiting } from "../parts/controls";
import { CHART_POINTS, CROSSING, promql, traffic } from "../queries";
import { nameOf, shown } from "../workloads";

const EVERY = 30;
const PEERS = 200;

type Side = "cause" | "src" | "dst";

/** Filters that choose one end's workload. */
function whereOf(name: string, side: Side): string[] {
  const [namespace, workload] = halves(name);
  return [`${side}_namespace:${namespace}`, `${side}_workload:${workload}`];
}

function useWorkload(name: string) {
  const { span } = useShared();
  const about = (side: Side, by: string[], more: { limit?: number; points?: number; compare?: boolean } = {}) =>
    useAnswer<Traffic>(
      traffic(span, { by, where: [...CROSSING, ...whereOf(name, side)], limit: PEERS, ...more }),
      EVERY,
    );
  return {
    caused: about("cause", ["src_zone", "dst_zone"], { points: CHART_POINTS, compare: true }),
    sent: about("src", ["dst_namespace", "dst_workload", "initiator"]),
    received: about("dst", ["src_namespace", "src_workload", "initiator"]),
  };
}

/** The short view beside the overview. */
export function Panel({ name }: { name: string }) {
  const { place, go } = useShared();
  return (
    <aside class="panel card" aria-label={shown(name)}>
      <header>
        <h2>{halves(name)[1]}</h2>
        <span class="note">{halves(name)[0]}</span>
        <div class="tools">
          <a class="button" href={format(moved(place, "workload", name))}>
            pods and ports
          </a>
          <button type="button" aria-label="close" onClick={() => go(changed(place, { w: "" }))}>
            ✕
          </button>
        </div>
      </header>
      <Summary name={name} />
    </aside>
  );
}

/** The page of one workload. */
export function Workload() {
  const { place } = useShared();
  const name = place.workload;
  return (
    <div class="screen">
      <h1>
        {halves(name)[1]} <span class="soft">{halves(name)[0]}</span>
      </h1>
      <Card title="Across zones">
        <Summary name={name} />
      </Card>
      <Ports name={name} side="src" />
      <Ports name={name} side="dst" />
    </div>
  );
}

function Summary({ name }: { name: string }) {
  const { zone, meta, names, go, place } = useShared();
  const { caused, sent, received } = useWorkload(name);
  if (!caused.value) return caused.error ? <Problem error={caused.error} /> : <Waiting />;
  const answer = caused.value;
  const seconds = counted(answer);
  const cost = costOf(answer.total, seconds, meta.prices);
  const unknown = [...(sent.value?.rows ?? [])]
    .filter((row) => row["initiator"] === "unknown")
    .reduce((sum, row) => sum + row.bytes, 0);
  const values = answer.total.series ?? [];
  return (
    <>
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
      {answer.total.bytes > 0 ? (
        <>
          <Stack
            layers={[{ name: "caused across zones", values, colour: 1 }]}
            from={answer.from}
            step={answer.step}
            gaps={answer.gaps}
            zone={zone}
            height={150}
            label={`Bytes a second that ${shown(name)} causes across zones`}
            onZoom={(from, to) => go(changed(place, { range: "", from: String(from), to: String(to) }))}
          />
          <h3>What it causes, between zones</h3>
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
      <h3>With whom</h3>
      <Peers sent={sent.value} received={received.value} />
      {unknown > 0 && (
        <p class="note">
          {size(unknown)} of what it sent is of connections whose opener is not known; it counts as the sender's.
        </p>
      )}
      <p class="tools">
        <Copy text={promql(name)}>PromQL</Copy>
        <Copy text={location.href}>link</Copy>
      </p>
    </>
  );
}

interface Peer {
  name: string;
  sent: number;
  received: number;
  own: number;
  theirs: number;
}

/** Peers by what went either way. */
export function peersOf(sent: readonly Row[], received: readonly Row[]): Peer[] {
  const found = new Map<string, Peer>();
  const add = (row: Row, end: "src" | "dst") => {
    const name = nameOf(row, end);
    const peer = found.get(name) ?? { name, sent: 0, received: 0, own: 0, theirs: 0 };
    if (end === "dst") peer.sent += row.bytes;
    else peer.received += row.bytes;
    const opener = row["initiator"];
    const isOwn = opener === (end === "dst" ? "source" : "destination");
    if (isOwn) peer.own += row.bytes;
    else if (opener !== "unknown") peer.theirs += row.bytes;
    found.set(name, peer);
  };
  for (const row of sent) add(row, "dst");
  for (const row of received) add(row, "src");
  return [...found.values()].sort((a, b) => b.sent + b.received - a.sent - a.received);
}

function asked(peer: Peer): string {
  if (peer.own && peer.theirs) return "both";
  return peer.own ? "this workload" : peer.theirs ? "the peer" : "not known";
}

function Peers({ sent, received }: { sent: Traffic | null; received: Traffic | null }) {
  const { place } = useShared();
  const link = (name: string) =>
    format(place.screen === "overview" ? changed(place, { w: name }) : moved(place, "workload", name));
  if (!sent || !received) return <Waiting />;
  const peers = peersOf(sent.rows, received.rows);
  if (!peers.length) return <Nothing>Nothing crossed zones.</Nothing>;
  const most = Math.max(...peers.map((peer) => peer.sent + peer.received));
  const rest = sent.other.bytes + received.other.bytes;
  return (
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
        {peers.slice(0, 12).map((peer) => (
          <tr key={peer.name}>
            <th scope="row">
              {peer.name === "/" ? "outside" : <a href={link(peer.name)}>{shown(peer.name)}</a>}
              <i class="bar" style={{ "--share": ((peer.sent + peer.received) / most).toFixed(4) }} />
            </th>
            <td class="number">{size(peer.sent)}</td>
            <td class="number">{size(peer.received)}</td>
            <td>{asked(peer)}</td>
          </tr>
        ))}
        {(peers.length > 12 || rest > 0) && (
          <tr class="other">
            <th scope="row">{peers.length > 12 ? `${peers.length - 12} others` : "others"}</th>
            <td class="number" colSpan={2}>
              {size(peers.slice(12).reduce((sum, peer) => sum + peer.sent + peer.received, rest))}
            </td>
            <td />
          </tr>
        )}
      </tbody>
    </table>
  );
}

function Ports({ name, side }: { name: string; side: "src" | "dst" }) {
  const { span } = useShared();
  const peer = side === "src" ? "dst" : "src";
  const by = [`${side}_pod`, `${side}_node`, `${peer}_namespace`, `${peer}_workload`, "port", "protocol"];
  const where = [...CROSSING, ...whereOf(name, side)];
  const answer = useAnswer<Traffic>(traffic(span, { by, where, limit: 100 }), EVERY);
  const title = side === "src" ? "What its pods send" : "What its pods receive";
  const csv = traffic(span, { by, where, limit: 10_000 });
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
                <th scope="col">Node</th>
                <th scope="col">Peer</th>
                <th scope="col">Port</th>
                <th scope="col" class="number">
                  Bytes
                </th>
                <th scope="col" class="number">
                  Share
                </th>
              </tr>
            </thead>
            <tbody>
              {answer.value.rows.map((row, i) => (
                <tr key={i}>
                  <th scope="row">{label(row, `${side}_pod`) || "–"}</th>
                  <td>{label(row, `${side}_node`) || "–"}</td>
                  <td>{shown(nameOf(row, peer))}</td>
                  <td>
                    {label(row, "port")}/{label(row, "protocol")}
                  </td>
                  <td class="number">{size(row.bytes)}</td>
                  <td class="number">{percent(row.bytes / Math.max(answer.value?.total.bytes ?? 0, 1))}</td>
                </tr>
              ))}
              {answer.value.other.bytes > 0 && (
                <tr class="other">
                  <th scope="row" colSpan={4}>
                    {answer.value.of - answer.value.rows.length} others
                  </th>
                  <td class="number">{size(answer.value.other.bytes)}</td>
                  <td />
                </tr>
              )}
            </tbody>
          </table>
        </Scroll>
      )}
    </Card>
  );
}
