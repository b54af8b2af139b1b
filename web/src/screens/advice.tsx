/** What would end traffic between zones, and what that saves. */

import { useAnswer } from "../api";
import { addressed, changed } from "../address";
import { useShared } from "../context";
import { size } from "../format";
import { Card, Copy, Filter, Nothing, Problem, Waiting } from "../parts/controls";
import { type Advice as Answer, advicePath, amounts, Footing, NoProposal, Proposals } from "../parts/proposals";
import { matches } from "../workloads";

const EVERY = 300;
const HELPFUL = new Set(["proposed", "warning"]);

export function Advice() {
  const { place, go, span } = useShared();
  const { q = "" } = place.options;
  const isOwn = span.name === "custom";
  const answer = useAnswer<Answer>(advicePath(span), EVERY);
  if (!answer.value) return answer.error ? <Problem error={answer.error} /> : <Waiting />;
  const advice = answer.value;
  const found = advice.proposals.filter((one) =>
    matches(
      [one.title, one.rule, one.service, ...one.workloads.map((it) => `${it.namespace}/${it.workload} ${it.workload_kind}`)].join(" "),
      q,
    ),
  );
  const helpful = found.filter((one) => HELPFUL.has(one.verdict));
  const others = found.filter((one) => !HELPFUL.has(one.verdict));
  return (
    <div class="screen">
      <h1 class="hidden">Advice</h1>
      <Card
        title="What to change"
        note="the largest saving first; kzn changes nothing by itself"
        tools={
          <>
            <Filter value={q} label="Filter advice" onChange={(text) => go(changed(place, { q: text }), true)} />
            <Copy text={addressed(place)}>link</Copy>
          </>
        }
      >
        {advice.saved_bytes_per_month > 0 && (
        <dl class="facts">
          <div>
            <dt>All of it saves</dt>
            <dd>
              <b>{amounts(advice.saving_per_month) || size(advice.saved_bytes_per_month)}</b> a month
            </dd>
          </div>
          {amounts(advice.saving_per_month) && (
            <div>
              <dt>That would stay in its zone</dt>
              <dd>
                <b>{size(advice.saved_bytes_per_month)}</b> a month
              </dd>
            </div>
          )}
        </dl>
        )}
        {helpful.length ? (
          <Proposals proposals={helpful} />
        ) : q ? (
          <Nothing>No proposal has "{q}" in it.</Nothing>
        ) : (
          <NoProposal advice={advice} />
        )}
        {advice.of > advice.proposals.length && (
          <p class="note">{advice.of - advice.proposals.length} more save less.</p>
        )}
        {isOwn && <p class="note">Advice looks at the last seven days, not at a span of one's own.</p>}
        <Footing advice={advice} />
      </Card>
      {others.length > 0 && (
        <Card title="What to leave" note="it would not help, or crosses for a reason">
          <Proposals proposals={others} />
        </Card>
      )}
    </div>
  );
}
