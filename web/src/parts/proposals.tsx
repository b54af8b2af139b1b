/** Proposals of /api/v1/advice: what to change, what that saves a month, what could go wrong. */

import { pathOf } from "../api";
import { changed, format, halves, moved, type Span } from "../address";
import { useShared } from "../context";
import { duration, instant, money, percent, size } from "../format";
import { Copy, Kind, None, Nothing, Scroll } from "./controls";

export interface Proposal {
  id: string;
  rule: string;
  title: string;
  verdict: "proposed" | "warning" | "refused" | "leave";
  service: string;
  workloads: { namespace: string; workload_kind: string; workload: string }[];
  effort_text: string;
  measured: { bytes: number; crossing_bytes: number; cost: Record<string, number>; unpriced_bytes: number };
  saved_bytes_per_month: number;
  saving_per_month: Record<string, number>;
  unpriced_saved_bytes: number;
  overlaps: string[];
  prices: { src_zone: string; dst_zone: string; both_per_gib: number; currency: string; list: string; date: string }[];
  change: { summary: string; commands: string[]; yaml: string };
  zones: {
    zone: string;
    client_share: number;
    endpoints_before: number;
    endpoints_after: number;
    load_before: number | null;
    load_after: number | null;
    crossing_before: number;
    crossing_after: number;
  }[];
  risks: string[];
  why: string[];
  unknown: string[];
  confidence: string;
  verify: string;
}

export interface Advice {
  window: { from: number; to: number; seconds: number };
  saving_per_month: Record<string, number>;
  saved_bytes_per_month: number;
  proposals: Proposal[];
  of: number;
  rules: { rule: string; signature: string; found: boolean; error: string }[];
  missing: { fact: string; why: string }[];
  unseen_bytes: number;
  notes: string[];
}

const VERDICTS: Record<Proposal["verdict"], string> = {
  proposed: "proposed",
  warning: "with a risk",
  refused: "would not help",
  leave: "leave it",
};

/** Amounts by currency as text; empty without any. */
export function amounts(of: Record<string, number>): string {
  return Object.entries(of)
    .map(([currency, amount]) => money(amount, currency))
    .join(" + ");
}

/** What a proposal that saves bytes saves a month: money, else bytes. */
export function saving(of: Pick<Proposal, "saving_per_month" | "saved_bytes_per_month">): string {
  return amounts(of.saving_per_month) || size(of.saved_bytes_per_month);
}

/** The proposals one below the other; that of the address is open. */
export function Proposals({ proposals }: { proposals: readonly Proposal[] }) {
  const { place, go } = useShared();
  const { open = "" } = place.options;
  return (
    <div class="proposals">
      {proposals.map((one) => (
        <details
          key={one.id}
          open={open === one.id}
          onToggle={(event) => {
            const isOpen = event.currentTarget.open;
            if (isOpen !== (open === one.id) && (isOpen || open === one.id))
              go(changed(place, { open: isOpen ? one.id : "" }), true);
          }}
        >
          <summary>
            <span class="what">
              <b>{one.title}</b>
              <span class="soft">
                {one.rule} · {one.effort_text} · confidence {one.confidence}
              </span>
            </span>
            <span class={`verdict-of ${one.verdict}`}>{VERDICTS[one.verdict]}</span>
            <span class="number">
              <b>{one.saved_bytes_per_month > 0 ? saving(one) : <None why="it saves nothing" />}</b>
              {one.saved_bytes_per_month > 0 && <span class="soft">a month</span>}
            </span>
          </summary>
          <Detail of={one} all={proposals} />
        </details>
      ))}
    </div>
  );
}

function Detail({ of, all }: { of: Proposal; all: readonly Proposal[] }) {
  const { place, names } = useShared();
  const zone = (name: string) => names.get(name) ?? (name || "outside");
  const known = new Map(all.map((one) => [one.id, one.title]));
  return (
    <div class="detail">
      <p>
        {size(of.measured.crossing_bytes)} of {size(of.measured.bytes)} crossed zones
        {amounts(of.measured.cost) && `, for ${amounts(of.measured.cost)}`}
        {of.measured.unpriced_bytes > 0 && ` (${size(of.measured.unpriced_bytes)} have no price)`}.{" "}
        {of.saved_bytes_per_month > 0 && <>{size(of.saved_bytes_per_month)} a month would stay in their zone. </>}
        {of.workloads.length > 0 && (
          <>
            It concerns{" "}
            {of.workloads.map((one, i) => (
              <span key={i}>
                {i > 0 && ", "}
                <a href={format(moved(place, "workload", `${one.namespace}/${one.workload}`, one.workload_kind))}>
                  {[one.namespace, one.workload].filter(Boolean).join("/")}
                </a>{" "}
                <Kind of={one.workload_kind} />
              </span>
            ))}
            .
          </>
        )}
      </p>
      <h3>What to change</h3>
      <p>{of.change.summary}</p>
      <Code text={of.change.commands.join("\n")} label="Commands" />
      <Code text={of.change.yaml} label="YAML" />
      <Sentences title="Why" of={of.why} />
      <Sentences title="Risks" of={of.risks} />
      <Sentences title="Not known" of={of.unknown} />
      {of.zones.length > 0 && (
        <>
          <h3>By zone, in the busiest hour</h3>
          <Scroll label="by zone">
            <table class="list">
              <thead>
                <tr>
                  <th scope="col">Zone</th>
                  <th scope="col" class="number">
                    share of clients
                  </th>
                  <th scope="col" class="number">
                    endpoints
                  </th>
                  <th scope="col" class="number">
                    load of each
                  </th>
                  <th scope="col" class="number">
                    crosses
                  </th>
                </tr>
              </thead>
              <tbody>
                {of.zones.map((one) => (
                  <tr key={one.zone}>
                    <th scope="row" title={one.zone}>
                      {zone(one.zone)}
                    </th>
                    <td class="number">{percent(one.client_share)}</td>
                    <td class="number">{turned(String(one.endpoints_before), String(one.endpoints_after))}</td>
                    <td class="number">
                      <Load of={one} />
                    </td>
                    <td class="number">{turned(size(one.crossing_before), size(one.crossing_after))}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        </>
      )}
      {of.overlaps.length > 0 && (
        <p class="note">
          Saves bytes that {of.overlaps.map((id) => known.get(id) ?? id).join("; ")} saves, too: the total has them once.
        </p>
      )}
      {of.prices.length > 0 && (
        <p class="note">
          At{" "}
          {of.prices
            .map((one) => `${money(one.both_per_gib, one.currency)} for a GiB from ${zone(one.src_zone)} to ${zone(one.dst_zone)} (${one.list} of ${one.date})`)
            .join(", ")}
          .
        </p>
      )}
      {of.verify && (
        <>
          <h3>Afterwards</h3>
          <Code text={of.verify} label="Compare" />
        </>
      )}
    </div>
  );
}

function turned(before: string, after: string): string {
  return before === after ? before : `${before} → ${after}`;
}

/** The load of an endpoint of a zone before and after; without endpoints there is none. */
function Load({ of }: { of: Proposal["zones"][number] }) {
  const [before, after] = [of.load_before?.toFixed(2), of.load_after?.toFixed(2)];
  const none = (endpoints: number) => <None why={endpoints ? "nothing was sent in that hour" : "no endpoint is here"} />;
  if (before !== undefined && after !== undefined) return <>{turned(before, after)}</>;
  if (before === after && !of.endpoints_before === !of.endpoints_after) return none(of.endpoints_before);
  return (
    <>
      {before ?? none(of.endpoints_before)} → {after ?? none(of.endpoints_after)}
    </>
  );
}

function Sentences({ title, of }: { title: string; of: readonly string[] }) {
  if (!of.length) return null;
  return (
    <>
      <h3>{title}</h3>
      <ul>
        {of.map((one) => (
          <li key={one}>{one}</li>
        ))}
      </ul>
    </>
  );
}

function Code({ text, label }: { text: string; label: string }) {
  if (!text) return null;
  return (
    <div class="code">
      <Scroll label={label}>
        <pre>{text}</pre>
      </Scroll>
      <Copy text={text}>copy</Copy>
    </div>
  );
}

/** What the answer is made from, and what it lacks. */
export function Footing({ advice }: { advice: Advice }) {
  const { zone } = useShared();
  const { from, to, seconds } = advice.window;
  const kept = seconds < 7200 ? duration(seconds) : `${(seconds / 3600).toFixed(1)} hours`;
  return (
    <>
      <p class="note">
        Measured from {instant(from, zone)} to {instant(to, zone)}
        {seconds < to - from - 60 && `, of which ${kept} have data`}; a month is 730 hours like these.
        {advice.unseen_bytes > 0 && ` ${size(advice.unseen_bytes)} were not looked at: too many groups of flows.`}
      </p>
      {[
        ...advice.notes,
        ...advice.missing.map((one) => `${one.fact} is not known: ${one.why}`),
        ...advice.rules.filter((one) => one.error).map((one) => `rule ${one.rule} failed: ${one.error}`),
      ].map((text) => (
        <p key={text} class="note">
          {text}
        </p>
      ))}
    </>
  );
}

/** The path of the question: of a span by its name, else of the server's own; of one workload or of all. */
export function advicePath(span: Span, name = ""): string {
  const [namespace, workload] = halves(name);
  return pathOf("advice", {
    since: span.name === "custom" ? undefined : span.name,
    workload: namespace ? `${namespace}/${workload}` : workload,
  });
}

/** Where there is no proposal. */
export function NoProposal({ advice }: { advice: Advice }) {
  return (
    <Nothing>
      None of {advice.rules.length} rules has a proposal here: what crosses zones has no known cause that a change would end.
    </Nothing>
  );
}
