/** What is shown, as the part of the address after #. Pure. */

import type { Zone } from "./format";

export const SCREENS = ["overview", "pairs", "nodes", "explain", "prices"] as const;
export type Screen = (typeof SCREENS)[number] | "workload";

/** Ranges by name, in seconds. */
export const RANGES: Record<string, number> = {
  "1h": 3600,
  "6h": 21_600,
  "24h": 86_400,
  "7d": 604_800,
  "30d": 2_592_000,
};

/** One view of the page; ``options`` are those of the screen that are not the default. */
export interface Place {
  screen: Screen;
  /** NAMESPACE/NAME of the workload screen; /NAME without a namespace. */
  workload: string;
  options: Record<string, string>;
}

/** The span that is asked for: a range by name, or from and to in Unix seconds. */
export interface Span {
  name: string;
  from: number | null;
  to: number | null;
}

/** Read the address; what is not understood is the overview. */
export function parse(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const options = Object.fromEntries(new URLSearchParams(query));
  const [first = "", ...rest] = path.split("/").map(decoded);
  if (first === "w" && rest.length === 2)
    return { screen: "workload", workload: rest.join("/"), options };
  const screen = SCREENS.find((name) => name === first) ?? "overview";
  return { screen, workload: "", options };
}

/** Namespace and name of NAMESPACE/NAME; a name can have a slash, a namespace cannot. */
export function halves(workload: string): [string, string] {
  const cut = workload.indexOf("/");
  return [workload.slice(0, Math.max(cut, 0)), workload.slice(cut + 1)];
}

/** The address of a place. */
export function format(place: Place): string {
  const path =
    place.screen === "workload"
      ? `w/${halves(place.workload).map(encodeURIComponent).join("/")}`
      : place.screen === "overview"
        ? ""
        : place.screen;
  const options = Object.entries(place.options).filter(([, value]) => value !== "");
  const query = new URLSearchParams(options).toString();
  return `#/${path}${query ? `?${query}` : ""}`;
}

/** The place with some options changed; an empty value removes one. */
export function changed(place: Place, options: Record<string, string>): Place {
  return { ...place, options: { ...place.options, ...options } };
}

/** Another screen; what holds for all screens stays. */
export function moved(place: Place, screen: Screen, workload = ""): Place {
  const { range, from, to, tz } = place.options;
  const kept = Object.entries({ range, from, to, tz }).filter((entry) => entry[1]);
  return { screen, workload, options: Object.fromEntries(kept) as Record<string, string> };
}

export function spanOf(place: Place, fallback: string): Span {
  const { range, from, to } = place.options;
  const [begin, end] = [Number(from), Number(to)];
  if (from && to && begin < end) return { name: "custom", from: begin, to: end };
  return { name: range && range in RANGES ? range : fallback, from: null, to: null };
}

export function zoneOf(place: Place, fallback: Zone): Zone {
  return place.options["tz"] === "local" || place.options["tz"] === "utc"
    ? place.options["tz"]
    : fallback;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
