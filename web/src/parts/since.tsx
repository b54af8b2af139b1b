/** From when on there are numbers, where that is later than what was asked for, and how fine they are. */

import type { Traffic } from "../api";
import { useShared } from "../context";
import { duration, instant } from "../format";

/** What a coarse answer is by, and which finer data are no longer kept of its span. */
const COARSE: Record<string, readonly [by: string, finer: string, level: string]> = {
  hours: ["hour", "minutes", "raw"],
  days: ["day", "hours", "hour"],
};

function isLate(answer: Traffic): answer is Traffic & { complete_from: number } {
  return answer.complete_from !== null && answer.complete_from > answer.from + answer.step;
}

/** Sentences; ``what`` is counted. */
export function Since({ answer, what = "counted" }: { answer: Traffic; what?: string }) {
  const { zone, span, meta } = useShared();
  const [by, finer, level] = COARSE[answer.source] ?? [];
  const kept = meta.kept[level ?? ""];
  // A range by name ends now.
  const now = span.name === "custom" ? Date.now() / 1000 : answer.to;
  const isOld = kept !== undefined && answer.from < now - kept;
  if (!isLate(answer) && !isOld) return null;
  return (
    <p class="note">
      {isLate(answer) && `${what} since ${instant(answer.complete_from, zone)}; nothing before is kept`}
      {isLate(answer) && isOld && ". "}
      {isOld && `${finer} are kept for ${duration(kept)}: this is by the ${by}`}
    </p>
  );
}
