/** What is wrong now, in one line; absent when nothing is. */

import type { Notice } from "../api";
import { format, moved } from "../address";
import { useShared } from "../context";

const SCREEN_OF: Record<string, "nodes" | "prices"> = {
  unpriced: "prices",
};

export function Strip({ notices }: { notices: readonly Notice[] }) {
  const { place } = useShared();
  if (!notices.length) return null;
  return (
    <div class="strip" role="status">
      {notices.map((notice) => (
        <span key={notice.kind} data-kind={notice.kind}>
          <i aria-hidden="true">▲</i> {notice.text.replace(/\.$/, "")}
          {notice.names?.length ? `: ${notice.names.slice(0, 3).join(", ")}` : ""}{" "}
          <a href={format(moved(place, SCREEN_OF[notice.kind] ?? "nodes"))} title={notice.hint}>
            why
          </a>
        </span>
      ))}
    </div>
  );
}
