/** What each node's agent saw, and what became of it. */

import { type NodeRow, type Status, useAnswer } from "../api";
import { changed } from "../address";
import { useShared } from "../context";
import { duration, percent, size } from "../format";
import { Card, Copy, Filter, Nothing, Problem, Scroll, Stale, Waiting } from "../parts/controls";
import * as promql from "../promql";
import { matches } from "../workloads";
import { ADVICE } from "../reasons";

const TERMS = ["seen", "attributed", "transit", "ignored", "unresolved", "missed", "held"] as const;
/** What the terms of the sum are, as docs/metrics.md has it. */
const MEANINGS: Record<string, string> = {
  attributed: "in the numbers of this page",
  transit: "from another node, which counts them",
  ignored: "cannot cross a zone, or counted elsewhere",
  unresolved: "of unknown source, destination or zone",
  missed: "in no flow",
  held: "may still be resolved",
};
const NOT_ATTRIBUTED = ["unresolved", "missed"] as const;
const SHOWN = 500;

function bytesOf(row: NodeRow, term: string): number {
  const value = row[`${term}_bytes`];
  return typeof value === "number" ? value : 0;
}

function reasonsOf(row: NodeRow, term: string): [string, number][] {
  const value = row[`${term}_by_reason`];
  return value && typeof value === "object" ? Object.entries(value) : [];
}

/** The reasons of all nodes, the largest first. */
export function reasons(rows: readonly NodeRow[], term: string): [string, number][] {
  const found = new Map<string, number>();
  for (const row of rows)
    for (const [reason, bytes] of reasonsOf(row, term)) found.set(reason, (found.get(reason) ?? 0) + bytes);
  return [...found].filter(([, bytes]) => bytes > 0).sort((a, b) => b[1] - a[1]);
}

export function Nodes() {
  const { place, go } = useShared();
  const { q = "" } = place.options;
  const answer = useAnswer<{ nodes: NodeRow[]; of: number }>("api/v1/nodes?limit=10000", 15);
  const status = useAnswer<Status>("api/v1/status", 15);
  if (!answer.value) return answer.error ? <Problem error={answer.error} /> : <Waiting />;
  const all = answer.value.nodes;
  const rows = all.filter((row) => matches(row.node, q));
  const seen = all.reduce((sum, row) => sum + bytesOf(row, "seen"), 0);
  return (
    <div class="screen">
      <h1 class="hidden">Nodes</h1>
      <Stale of={[answer]} />
      <Card
        title="Not attributed"
        note="since the server began to count"
        tools={<Copy text={promql.reasons(NOT_ATTRIBUTED)}>PromQL</Copy>}
      >
        {NOT_ATTRIBUTED.map((term) => {
          const found = reasons(all, term);
          return (
            <div key={term} class="reasons">
              <h3>{term}</h3>
              {!found.length && <p class="soft">nothing</p>}
              <dl>
                {found.map(([reason, bytes]) => (
                  <div key={reason}>
                    <dt>
                      <code>{reason}</code> {size(bytes)} ({percent(bytes / Math.max(seen, 1))})
                    </dt>
                    <dd>{ADVICE[reason] ?? "see docs/metrics.md"}</dd>
                  </div>
                ))}
              </dl>
            </div>
          );
        })}
      </Card>
      <Card
        title="Nodes"
        note={status.value ? `${status.value.nodes_reporting} of ${status.value.nodes_known} report to this server` : undefined}
        tools={
          <>
            <Filter value={q} label="Filter nodes" onChange={(text) => go(changed(place, { q: text }), true)} />
            <Copy text={promql.nodes(TERMS)}>PromQL</Copy>
          </>
        }
      >
        {!rows.length ? (
          <Nothing>{q ? `No node has "${q}" in its name.` : "No node has reported."}</Nothing>
        ) : (
          <Scroll label="nodes">
            <table class="list">
              <thead>
                <tr>
                  <th scope="col">Node</th>
                  <th scope="col" class="number">
                    last batch
                  </th>
                  {TERMS.map((term) => (
                    <th key={term} scope="col" class="number">
                      {term}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {rows.slice(0, SHOWN).map((row) => (
                  <tr key={row.node}>
                    <th scope="row" class="name">{row.node}</th>
                    <td class={`number ${row.seconds_since_batch > 60 ? "up" : ""}`}>
                      {duration(row.seconds_since_batch)} ago
                    </td>
                    {TERMS.map((term) => (
                      <td
                        key={term}
                        class="number"
                        title={reasonsOf(row, term)
                          .map(([reason, bytes]) => `${reason}: ${size(bytes)}`)
                          .join("\n")}
                      >
                        {size(bytesOf(row, term))}
                      </td>
                    ))}
                  </tr>
                ))}
                {rows.length > SHOWN && (
                  <tr class="other">
                    <th scope="row" colSpan={2 + TERMS.length}>{rows.length - SHOWN} others: use the filter</th>
                  </tr>
                )}
              </tbody>
            </table>
          </Scroll>
        )}
        <p class="note">seen = {TERMS.slice(1).join(" + ")}</p>
        <dl class="terms">
          {Object.entries(MEANINGS).map(([term, meaning]) => (
            <div key={term}>
              <dt>{term}</dt> <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
      </Card>
    </div>
  );
}
