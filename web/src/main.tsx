/** The page: asks what the server is, then shows the screen that the address names. */

import { render } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { askEarly, type Meta, type Notice, type Status, useAnswer } from "./api";
import { format as addressOf, parse, type Place, spanOf, zoneOf } from "./address";
import { Context, type Shared } from "./context";
import { clock, duration, instant, shortZones, type Zone } from "./format";
import { type Answered, answeredBy, NONE } from "./servers";
import { Header, showTheme, storedTheme } from "./parts/header";
import { Kept, pageIsShown, whenIdle } from "./parts/later";
import { Strip } from "./parts/strip";
import { Nothing, Problem, Waiting } from "./parts/controls";
import { Advice } from "./screens/advice";
import { Explain } from "./screens/explain";
import { Nodes } from "./screens/nodes";
import { Overview, questionsOf } from "./screens/overview";
import { Pairs } from "./screens/pairs";
import { Prices } from "./screens/prices";
import { Workload } from "./screens/workload";
import { shown } from "./workloads";
import "./style.css";

const SCREENS = {
  overview: Overview,
  workload: Workload,
  advice: Advice,
  pairs: Pairs,
  nodes: Nodes,
  explain: Explain,
  prices: Prices,
};

const [STATUS, META, NOTICES] = ["api/v1/status", "api/v1/meta", "api/v1/notices"] as const;
/** Milliseconds in which index.html's own words stay while the first answers are on their way. */
const PATIENCE = 1500;

/** Milliseconds without typing after which the address follows. */
const PAUSE = 300;
/** Events that end typing, wherever they happen. */
const ENDS = ["focusout", "pointerdown", "pagehide"] as const;

function usePlace(): Pick<Shared, "place" | "settled" | "go"> {
  const [place, setPlace] = useState(() => parse(location.hash));
  const [settled, setSettled] = useState(place);
  /** What was typed and is not in the address. */
  const typed = useRef<{ address: string; timer: number; ended: AbortController } | null>(null);
  /** What this page made of the address. */
  const own = useRef(location.hash);
  const forget = () => {
    window.clearTimeout(typed.current?.timer);
    typed.current?.ended.abort();
    typed.current = null;
  };
  const settle = () => {
    const address = typed.current?.address;
    if (address === undefined) return;
    forget();
    history.replaceState(null, "", address);
    own.current = location.hash;
    setSettled(parse(address));
  };
  useLayoutEffect(() => {
    const read = () => {
      if (location.hash === own.current) return;
      forget();
      own.current = location.hash;
      setPlace(parse(location.hash));
      setSettled(parse(location.hash));
    };
    window.addEventListener("hashchange", read);
    return () => window.removeEventListener("hashchange", read);
  }, []);
  const go = (next: Place, typing = false) => {
    const address = addressOf(next);
    if (address === (typed.current?.address ?? location.hash)) return;
    const then = parse(address);
    if (typing) {
      // The browser asks for the page's icon at each change of the address, and allows few of them a second.
      forget();
      const ended = new AbortController();
      typed.current = { address, timer: window.setTimeout(settle, PAUSE), ended };
      // Not before: a listener of pagehide takes milliseconds.
      for (const name of ENDS) window.addEventListener(name, settle, { capture: true, signal: ended.signal });
    } else {
      settle();
      location.hash = address;
      own.current = location.hash;
      setSettled(then);
    }
    // Now, not at the hashchange: what is pressed meanwhile must not go on from the place before.
    setPlace(then);
  };
  return { place, settled, go };
}

function storedZone(): Zone {
  try {
    return localStorage.getItem("kzn-tz") === "local" ? "local" : "utc";
  } catch {
    return "utc";
  }
}

function App() {
  const { place, settled, go } = usePlace();
  const [isUsual, setUsual] = useState(true);
  const status = useAnswer<Status>(STATUS, isUsual ? 10 : 2);
  // Who waits for the first numbers looks at the page all the time.
  const hasNumbers = !status.value || (status.value.ready && status.value.batches > 0);
  useLayoutEffect(() => setUsual(hasNumbers), [hasNumbers]);
  const instance = status.value?.instance;
  const [answered, setAnswered] = useState<Answered>(() => (instance === undefined ? NONE : answeredBy(NONE, instance)));
  useLayoutEffect(() => {
    if (instance !== undefined) setAnswered((before) => answeredBy(before, instance));
  }, [instance]);
  const isReady = status.value?.ready ?? false;
  const meta = useAnswer<Meta>(isReady ? META : "", 60);
  const notices = useAnswer<{ notices: Notice[] }>(isReady ? NOTICES : "", 30);
  const names = useMemo(() => shortZones(meta.value?.zones ?? []), [meta.value?.zones]);
  const zone = zoneOf(place, storedZone());
  useLayoutEffect(() => {
    if (zone === storedZone()) return;
    try {
      localStorage.setItem("kzn-tz", zone);
    } catch {
      // storage is blocked: the address has it
    }
  }, [zone]);
  const span = spanOf(place, usualRange(meta.value));
  useLayoutEffect(() => {
    const name = place.screen === "workload" ? shown(place.workload) : place.screen;
    document.title = `${name === "overview" ? "" : `${name} · `}${meta.value?.cluster || "kzn"}`;
  }, [place, meta.value?.cluster]);

  const shared = useMemo(
    () => (meta.value ? { place, settled, go, span, zone, meta: meta.value, names } : null),
    [place, settled, span.name, span.from, span.to, zone, meta.value, names],
  );

  if (!status.value) {
    return (
      <main>
        <h1 class="hidden">kzn</h1>
        {status.error ? <Problem error={status.error} /> : <Waiting />}
      </main>
    );
  }
  if (!isReady) {
    return (
      <main>
        <h1>kzn</h1>
        <Nothing>
          <b>The server is not ready.</b> {status.value.why_not_ready}
        </Nothing>
      </main>
    );
  }
  if (!shared) {
    return <main>{meta.error ? <Problem error={meta.error} /> : <Waiting />}</main>;
  }
  const Screen = SCREENS[place.screen];
  const problem = status.error ?? meta.error;
  return (
    <Context.Provider value={shared}>
      <Header />
      <Strip notices={notices.value?.notices ?? []} />
      {answered.inTurn && (
        <div class="strip" role="status" data-kind="servers_in_turn">
          <span>
            <i aria-hidden="true">▲</i> {answered.instances.length} servers answer here in turn, each with the nodes of its own
            zone: numbers jump. Open one of them: <code>kubectl -n kzn port-forward pod/NAME 8080</code>
          </span>
        </div>
      )}
      {problem && (
        <div class="strip away" role="alert">
          {problem.message}. The numbers are {duration((Date.now() - status.at) / 1000)} old.
        </div>
      )}
      <main class={problem ? "old" : ""}>
        {!hasNumbers && <NothingYet status={status.value} at={status.at} zone={zone} />}
        {(hasNumbers || shared.meta.ranges.length > 1) && (
          <Kept of={[place.screen, place.workload]}>{() => <Screen key={place.screen + place.workload} />}</Kept>
        )}
      </main>
      <footer>
        kzn {shared.meta.version} · bytes are those on the wire, IP headers included ·{" "}
        <a href="metrics">metrics</a> · <a href="NOTICES.txt">notices</a>
        <p class="paper">
          {span.from === null || span.to === null
            ? `${span.name} until ${instant(status.at / 1000, zone)}`
            : `${instant(span.from, zone)} to ${instant(span.to, zone)}`}
          {" · "}
          {location.href}
        </p>
      </footer>
    </Context.Provider>
  );
}

function NothingYet({ status, at, zone }: { status: Status; at: number; zone: Zone }) {
  if (status.agents > 0) {
    const { connected_seconds: since, first_batch_seconds: due } = status;
    return (
      <Nothing>
        <b>
          {status.agents === 1 ? "One agent is" : `${status.agents} agents are`} connected
          {typeof since === "number" && ` since ${clock(at / 1000 - since, zone)}`}.
        </b>{" "}
        {typeof due !== "number"
          ? "The first interval has not ended."
          : due > 0
            ? `The first interval ends in ${duration(Math.ceil(due))}.`
            : "The first interval has ended; its numbers are on the way."}
      </Nothing>
    );
  }
  return (
    <Nothing>
      <b>No agent has reported.</b> Look at the DaemonSet: <code>kubectl -n kzn get ds,pods -o wide</code>,
      and on a node: <code>kzn doctor</code>.
    </Nothing>
  );
}

/** The range where the address has none. */
function usualRange(meta: Meta | null): string {
  const ranges = meta?.ranges ?? [];
  return ranges.includes("24h") ? "24h" : (ranges.at(-1) ?? "1h");
}

/** Ask what the first screen needs; ends when it came, or most of it. */
async function askFirst(isDrawn: () => boolean): Promise<void> {
  const [status, meta] = await Promise.all([
    askEarly<Status>(STATUS),
    askEarly<Meta>(META),
    askEarly(NOTICES),
  ]);
  const place = parse(location.hash);
  if (isDrawn() || !status?.ready || !meta || place.screen !== "overview") return;
  const { causers, zones, sent, received } = questionsOf(place, spanOf(place, usualRange(meta)));
  const main = [askEarly(causers), askEarly(zones)];
  const rest = Promise.all([askEarly(sent), askEarly(received)]);
  await Promise.all(main);
  await Promise.race([rest, after(PATIENCE / 10)]);
}

function after(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

const root = document.getElementById("page");
if (root) {
  // Drawn once, with its numbers, if they come soon: drawing it without them takes as long again.
  let isDrawn = false;
  const first = Promise.race([askFirst(() => isDrawn), after(PATIENCE)]);
  // The first look into the storage takes milliseconds: meanwhile the server answers.
  showTheme(storedTheme());
  void first.then(() => {
    isDrawn = true;
    render(<App />, root);
    whenIdle(() => {
      pageIsShown();
      // Not before the numbers: the browser draws it as a document of its own.
      whenIdle(() => document.querySelector("link[rel=icon]")?.setAttribute("href", "icon.svg"));
    });
  });
}
