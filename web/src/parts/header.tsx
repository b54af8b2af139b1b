/** Name of the cluster, screens, span, time zone, theme. */

import { useState } from "preact/hooks";
import { changed, format, moved, RANGES, type Screen } from "../address";
import { useShared } from "../context";
import { Choice } from "./controls";

const NAMES: readonly (readonly [Screen, string])[] = [
  ["overview", "Overview"],
  ["advice", "Advice"],
  ["pairs", "Pairs"],
  ["nodes", "Nodes"],
  ["explain", "Explain"],
  ["prices", "Prices"],
];

const THEMES = ["auto", "light", "dark"];

export function Header() {
  const { place, go, span, zone, meta } = useShared();
  const [theme, setTheme] = useState(document.documentElement.dataset["theme"] ?? "auto");
  const [asks, setAsks] = useState(false);
  const nextTheme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
  const off = new Map(
    Object.keys(RANGES)
      .filter((name) => !meta.ranges.includes(name))
      .map((name) => [name, "not kept: start the server with --history DIR"]),
  );
  const here = place.screen === "workload" ? "overview" : place.screen;
  return (
    <header class="top">
      <a class="brand" href={format(moved(place, "overview"))}>
        kzn
      </a>
      {meta.cluster && <span class="cluster">{meta.cluster}</span>}
      <nav aria-label="Screens">
        {NAMES.map(([screen, name]) => (
          <a
            key={screen}
            href={format(moved(place, screen))}
            aria-current={screen === here ? "page" : undefined}
          >
            {name}
          </a>
        ))}
      </nav>
      <div class="tools">
        <Choice
          label="Span"
          choices={[...Object.keys(RANGES).map((name) => [name, name] as const), ["custom", "custom…"]]}
          value={span.name}
          disabled={off}
          onChange={(name) => {
            setAsks(name === "custom" && !asks);
            if (name !== "custom") go(changed(place, { range: name, from: "", to: "" }));
          }}
        />
        <Choice
          label="Time zone"
          choices={[
            ["utc", "UTC"],
            ["local", "local"],
          ]}
          value={zone}
          onChange={(name) => go(changed(place, { tz: name }))}
        />
        <button
          type="button"
          title={`theme: ${theme}; next: ${nextTheme}`}
          aria-label={`theme: ${theme}`}
          onClick={() => {
            setTheme(nextTheme);
            setThemeOf(nextTheme);
          }}
        >
          {theme === "auto" ? "◐" : theme === "light" ? "○" : "●"}
        </button>
      </div>
      {asks && <Custom onDone={() => setAsks(false)} />}
    </header>
  );
}

export function showTheme(theme: string): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

/** Set the theme and remember it. */
function setThemeOf(theme: string): void {
  showTheme(theme);
  try {
    localStorage.setItem("kzn-theme", theme);
  } catch {
    // storage is blocked: the theme holds until the page is closed
  }
}

/** The remembered theme. */
export function storedTheme(): string {
  try {
    const found = localStorage.getItem("kzn-theme");
    return found && THEMES.includes(found) ? found : "auto";
  } catch {
    return "auto";
  }
}

function Custom({ onDone }: { onDone: () => void }) {
  const { place, go, span, zone } = useShared();
  const now = Date.now() / 1000;
  const suffix = zone === "utc" ? "Z" : "";
  const shown = (seconds: number) => {
    const at = new Date(seconds * 1000);
    const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
    return (zone === "utc" ? at : local).toISOString().slice(0, 16);
  };
  const [from, setFrom] = useState(shown(span.from ?? now - (RANGES[span.name] ?? 3600)));
  const [to, setTo] = useState(shown(span.to ?? now));
  const [begin, end] = [from, to].map((text) => Date.parse(text + suffix) / 1000) as [number, number];
  const isValid = begin < end;
  return (
    <form
      class="custom"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isValid) return;
        go(changed(place, { range: "", from: String(begin), to: String(end) }));
        onDone();
      }}
    >
      <label>
        from <input type="datetime-local" value={from} onInput={(e) => setFrom(e.currentTarget.value)} />
      </label>
      <label>
        to <input type="datetime-local" value={to} onInput={(e) => setTo(e.currentTarget.value)} />
      </label>
      <button type="submit" disabled={!isValid}>
        {isValid ? "show" : "from is not before to"}
      </button>
    </form>
  );
}
