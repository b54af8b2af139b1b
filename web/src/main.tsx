/** The page: asks what the server is, then shows the screen that the address names. */

import { render } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { type Meta, type Notice, type Status, useAnswer } from "./api";
import { format as addressOf, parse, type Place, spanOf, zoneOf } from "./address";
import { Context, type Shared } from "./context";
import { duration, shortZones, type Zone } from "./format";
import { Header, setThemeOf, storedTheme } from "./parts/header";
import { Strip } from "./parts/strip";
import { Nothing, Problem, Waiting } from "./parts/controls";
import { Explain } from "./screens/explain";
import { Nodes } from "./screens/nodes";
import { Overview } from "./screens/overview";
import { Pairs } from "./screens/pairs";
import { Prices } from "./screens/prices";
import { Workload } from "./screens/workload";
import { shown } from "./workloads";
import "./style.css";

const SCREENS = {
  overview: Overview,
  workload: Workload,
  pairs: Pairs,
  nodes: Nodes,
  explain: Explain,
  prices: Prices,
};

function usePlace(): [Place, Shared["go"]] {
  const [place, setPlace] = useState(() => parse(location.hash));
  useEffect(() => {
    const read = () => setPlace(parse(location.hash));
    window.addEventListener("hashchange", read);
    return () => window.removeEventListener("hashchange", read);
  }, []);
  const go = (next: Place, typing = false) => {
    if (typing) {
      history.replaceState(null, "", addressOf(next));
      setPlace(next);
    } else if (addressOf(next) !== location.hash) location.hash = addressOf(next);
  };
  return [place, go];
}

function storedZone(): Zone {
  try {
    return localStorage.getItem("kzn-tz") === "local" ? "local" : "utc";
  } catch {
    return "utc";
  }
}

function App() {
  const [place, go] = usePlace();
  const status = useAnswer<Status>("api/v1/status", 10);
  const isReady = status.value?.ready ?? false;
  const meta = useAnswer<Meta>(isReady ? "api/v1/meta" : "", 60);
  const notices = useAnswer<{ notices: Notice[] }>(isReady ? "api/v1/notices" : "", 30);
  const names = useMemo(() => shortZones(meta.value?.zones ?? []), [meta.value?.zones]);
  const zone = zoneOf(place, storedZone());
  useEffect(() => {
    try {
      localStorage.setItem("kzn-tz", zone);
    } catch {
      // storage is blocked: the address has it
    }
  }, [zone]);
  const ranges = meta.value?.ranges ?? [];
  const usual = ranges.includes("24h") ? "24h" : (ranges.at(-1) ?? "1h");
  const span = spanOf(place, usual);
  useEffect(() => {
    const name = place.screen === "workload" ? shown(place.workload) : place.screen;
    document.title = `${name === "overview" ? "" : `${name} · `}${meta.value?.cluster || "kzn"}`;
  }, [place, meta.value?.cluster]);

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
  if (!meta.value) {
    return <main>{meta.error ? <Problem error={meta.error} /> : <Waiting />}</main>;
  }
  const Screen = SCREENS[place.screen];
  const shared = { place, go, span, zone, meta: meta.value, names };
  const problem = status.error ?? meta.error;
  return (
    <Context.Provider value={shared}>
      <Header />
      <Strip notices={notices.value?.notices ?? []} />
      {problem && (
        <div class="strip away" role="alert">
          {problem.message}. The numbers are {duration((Date.now() - status.at) / 1000)} old.
        </div>
      )}
      <main class={problem ? "old" : ""}>
        {status.value.batches === 0 && ranges.length < 2 ? (
          <NothingYet status={status.value} />
        ) : (
          <Screen key={place.screen + place.workload} />
        )}
      </main>
      <footer>
        kzn {meta.value.version} · bytes are those on the wire, IP headers included ·{" "}
        <a href="metrics">metrics</a> · <a href="NOTICES.txt">notices</a>
      </footer>
    </Context.Provider>
  );
}

function NothingYet({ status }: { status: Status }) {
  if (status.agents > 0) {
    return (
      <Nothing>
        <b>{status.agents === 1 ? "One agent is" : `${status.agents} agents are`} connected.</b> The
        first interval has not ended; numbers come within seconds.
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

setThemeOf(storedTheme());
const root = document.getElementById("page");
if (root) render(<App />, root);
