/** What is wrong now, in one line; absent when nothing is. */

import type { Notice } from "../api";
import { format, moved } from "../address";
import { useShared } from "../context";

/** The screen that explains a notice; of others the hint stands in the strip. */
const SCREEN_OF: Record<string, "nodes" | "prices"> = {
  node_silent: "nodes",
  node_without_zone: "nodes",
  other_servers: "nodes",
  unresolved: "nodes",
  missed: "nodes",
  unpriced: "prices",
};

export function Strip({ notices }: { notices: readonly Notice[] }) {
  const { place } = useShared();
  if (!notices.length) return null;
  return (
    <div class="strip" role="status">
      {notices.map(({ kind, text, names = [], hint }) => {
        const screen = SCREEN_OF[kind];
        return (
          <span key={kind} data-kind={kind}>
            <i aria-hidden="true">▲</i> {text.replace(/\.$/, "")}
            {names.length > 0 && `: ${names.slice(0, 3).join(", ")}`}
            {screen ? (
              <>
                {" "}
                <a href={format(moved(place, screen))} title={hint}>
                  why
                </a>
              </>
            ) : (
              hint && ` (${hint})`
            )}
          </span>
        );
      })}
    </div>
  );
}
