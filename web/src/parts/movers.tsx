/** What changed in a day: workloads that cause much more or less traffic across zones than the day before, and what was rolled out. */

import { hasBefore, type Row, type Traffic, useAnswer } from "../api";
import { changed, format } from "../address";
import { useShared } from "../context";
import { change, size } from "../format";
import { CROSSING, traffic } from "../queries";
import { keyOf, kindOf, nameOf, shown, workloadOf } from "../workloads";
import { Card, Kind, Name, Nothing } from "./controls";
import { Others, RolledOut, type Rollouts, rolloutsOf, rolloutsPath } from "./rollouts";

const EVERY = 300;
const MOST = 5;
const GROUPS = 2000;
/** A change below this share of all traffic across zones is none. */
const LEAST = 0.01;

/** The workloads that changed most, by how much; those of a share below `LEAST` are left out. */
export function movers(answer: Traffic, most: number): Row[] {
  const by = (row: Row) => row.bytes - (row.before ?? 0);
  const all = Math.max(answer.total.bytes, answer.total.before ?? 0);
  return answer.rows
    .filter((row) => Math.abs(by(row)) > LEAST * all)
    .sort((one, other) => Math.abs(by(other)) - Math.abs(by(one)))
    .slice(0, most);
}

export function Movers() {
  const { place, meta } = useShared();
  const isKept = meta.ranges.includes("7d");
  const path = traffic(
    { name: "24h", from: null, to: null },
    { by: workloadOf("cause"), where: CROSSING, limit: GROUPS, compare: true },
  );
  const { value } = useAnswer<Traffic>(isKept ? path : "", EVERY);
  const rolledOut = useAnswer<Rollouts>(isKept ? rolloutsPath("24h") : "", EVERY).value;
  if (!value || !hasBefore(value)) return null;
  const found = movers(value, MOST);
  const all = rolledOut?.rollouts ?? [];
  const own = found.map((row) => rolloutsOf(all, nameOf(row, "cause"), kindOf(row, "cause")));
  const beside = new Set(own.flat());
  return (
    <Card title="What changed" note="the last day against the day before">
      {!found.length ? (
        <Nothing>No workload causes much more or less than the day before.</Nothing>
      ) : (
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Workload</th>
              <th scope="col" class="number w2">Before</th>
              <th scope="col" class="number">Now</th>
              <th scope="col" class="number">Change</th>
              {rolledOut && <th scope="col">Rolled out</th>}
            </tr>
          </thead>
          <tbody>
            {found.map((row, number) => {
              const [name, kind] = [nameOf(row, "cause"), kindOf(row, "cause")];
              const isMore = row.bytes > (row.before ?? 0);
              return (
                <tr key={keyOf(row, "cause")}>
                  <th scope="row" class="name">
                    <a href={format(changed(place, { w: name, kind }))}><Name of={shown(name)} /></a> <Kind of={kind} />
                  </th>
                  <td class="number w2">{size(row.before ?? 0)}</td>
                  <td class="number">{size(row.bytes)}</td>
                  <td class={`number ${isMore ? "up" : "down"}`}>
                    {row.bytes ? change(row.bytes, row.before) : "gone"}
                  </td>
                  {rolledOut && (
                    <td>
                      <RolledOut found={own[number] ?? []} />
                    </td>
                  )}
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      {rolledOut && <Others found={all.filter((one) => !beside.has(one))} answer={rolledOut} />}
    </Card>
  );
}
