/** What is shown, as the part of the address after #. Pure. */

import type { Zone } from "./format";

export const SCREENS = ["overview", "advice", "pairs", "nodes", "explain", "prices"] as const;
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
      ? `w/${halves(place.workload).map(encoded).join("/")}`
      : place.screen === "overview"
        ? ""
        : place.screen;
  const options = Object.entries(place.options).filter(([, value]) => value !== "");
  // By hand, because URLSearchParams takes milliseconds for the links of a table.
  const query = options.map((entry) => entry.map(encoded).join("=")).join("&");
  return `#/${path}${query ? `?${query}` : ""}`;
}

/** Half of a pair of code units is not a character: it cannot be encoded. */
function encoded(text: string): string {
  return encodeURIComponent(text.replace(/[\uD800-\uDFFF]/gu, "\uFFFD"));
}

/** The whole address of a place, for other people. */
export function addressed(place: Place): string {
  return location.href.replace(/#.*$/s, "") + format(place);
}

/** The place with some options changed; an empty value removes one. */
export function changed(place: Place, options: Record<string, string>): Place {
  return { ...place, options: { ...place.options, ...options } };
}

/** Another screen; what holds for all screens stays. ``kind`` is that of the workload, if it is known. */
export function moved(place: Place, screen: Screen, workload = "", kind = ""): Place {
  const { range, from, to, tz } = place.options;
  const kept = Object.entries({ range, from, to, tz, kind }).filter((entry) => entry[1]);
  return { screen, workload, options: Object.fromEntries(kept) as Record<string, string> };
}

/** The longest span that the server answers, and its last second, in seconds. */
const LONGEST = 800 * 86_400;
const LAST = 10 ** 11;

/** The span of the address, in whole seconds; what the server would refuse is the fallback. */
export function spanOf(place: Place, fallback: string): Span {
  const { range, from, to } = place.options;
  const [begin, end] = [Math.floor(Number(from)), Math.ceil(Number(to))];
  if (from && to && begin >= 0 && begin < end && end < LAST && end - begin <= LONGEST)
    return { name: "custom", from: begin, to: end };
  return { name: range && range in RANGES ? range : fallback, from: null, to: null };
}

/** An option that is one of ``names``; the first if it is not. */
export function oneOf<T extends string>(place: Place, option: string, names: readonly [T, ...T[]]): T {
  return names.find((name) => name === place.options[option]) ?? names[0];
}

/** An option that is a number of rows: whole, from 1 to ``most``; the fallback if it is not a number of rows. */
export function countOf(place: Place, option: string, fallback: number, most: number): number {
  const found = Number(place.options[option]);
  return Number.isInteger(found) && found > 0 ? Math.min(found, most) : fallback;
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
