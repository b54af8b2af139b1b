/** What was rolled out in a span, from /api/v1/rollouts: beside the workload that changed, and the rest as a list. */

import { pathOf } from "../api";
import { changed, format, moved } from "../address";
import { useShared } from "../context";
import { instant } from "../format";
import { Kind, None } from "./controls";

export interface Rollout {
  time: number;
  until: number;
  namespace: string;
  workload_kind: string;
  workload: string;
  what: string;
  before: string;
  after: string;
  times: number;
  via: string;
  text: string;
}

export interface Rollouts {
  from: number;
  to: number;
  watched_from: number;
  rollouts: Rollout[];
  of: number;
  notes: string[];
}

const MOST = 1000;
/** Changes that one workload, and the list of the rest, show at first. */
const SHOWN = 4;
const LISTED = 6;

/** The path of the question. */
export function rolloutsPath(span: string): string {
  return pathOf("rollouts", { since: span, limit: MOST });
}

/** The changes of one workload, the newest first; without a kind those of all kinds. */
export function rolloutsOf(all: readonly Rollout[], name: string, kind: string): Rollout[] {
  return all.filter((one) => nameOf(one) === name && (!kind || one.workload_kind === kind));
}

/** The changes in the cell of a workload. */
export function RolledOut({ found }: { found: readonly Rollout[] }) {
  const { zone } = useShared();
  if (!found.length) return <None why="no rollout is known of this day" />;
  return (
    <>
      {found.slice(0, SHOWN).map((one) => (
        <span key={keyOf(one)} class="rollout" title={instant(one.time, zone)}>
          {one.text}
        </span>
      ))}
      {found.length > SHOWN && <span class="rollout soft">and {found.length - SHOWN} more</span>}
    </>
  );
}

/** The changes of what is not in the table above it, and what is not known. */
export function Others({ found, answer }: { found: readonly Rollout[]; answer: Rollouts }) {
  const { place, zone } = useShared();
  const beyond = answer.of - answer.rollouts.length;
  const left = found.length - LISTED + beyond;
  if (!found.length && !answer.notes.length) return null;
  return (
    <div class="rollouts">
      {found.length > 0 && (
        <>
          <h3>Also rolled out</h3>
          <ul>
            {found.slice(0, LISTED).map((one) => (
              <li key={keyOf(one)}>
                {one.workload_kind === "Service" ? (
                  <a href={format(moved(place, "advice"))}>{nameOf(one)}</a>
                ) : (
                  <a href={format(changed(place, { w: nameOf(one), kind: one.workload_kind }))}>{nameOf(one)}</a>
                )}{" "}
                <Kind of={one.workload_kind} /> {one.text} <span class="soft">{instant(one.time, zone)}</span>
              </li>
            ))}
          </ul>
          {left > 0 && <p class="note">and {left} more</p>}
        </>
      )}
      {answer.notes.map((note) => (
        <p key={note} class="note">
          Rollouts: {note}.
        </p>
      ))}
    </div>
  );
}

function nameOf(one: Rollout): string {
  return one.namespace ? `${one.namespace}/${one.workload}` : one.workload;
}

function keyOf(one: Rollout): string {
  return [one.time, one.what, one.workload_kind, one.namespace, one.workload, one.after].join(" ");
}
