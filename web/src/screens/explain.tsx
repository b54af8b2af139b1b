/** What kzn makes of a packet from one address to another, and why. */

import { useState } from "preact/hooks";
import { pathOf, useAnswer } from "../api";
import { changed } from "../address";
import { useShared } from "../context";
import { Card, Copy, Kind, Name, None, Nothing, Problem, Scroll, Waiting } from "../parts/controls";

interface End {
  address: string;
  owner: string;
  side: string;
  namespace?: string;
  name?: string;
  workload_kind?: string;
  workload?: string;
  node?: string;
  zone?: string;
  region?: string;
}

interface Explanation {
  time: string;
  node: string;
  src: End;
  dst: End;
  verdict: string;
  why: string[];
  advice: string[];
  charged_to: string;
}

export function Explain() {
  const { place, go } = useShared();
  const { src = "", dst = "", at = "" } = place.options;
  const [form, setForm] = useState({ src, dst, at });
  const isAsked = src !== "" && dst !== "";
  const answer = useAnswer<Explanation>(isAsked ? pathOf("explain", { src, dst, at }) : "", 0);
  const field = (name: "src" | "dst" | "at", text: string, hint: string) => (
    <label>
      {text}{" "}
      <input
        value={form[name]}
        placeholder={hint}
        spellcheck={false}
        onInput={(event) => setForm({ ...form, [name]: event.currentTarget.value })}
      />
    </label>
  );
  return (
    <div class="screen">
      <h1 class="hidden">Explain</h1>
      <Card
        title="Explain a packet"
        note="two addresses: whose are they, does it cross a zone, and why"
        tools={isAsked ? <Copy text={location.href}>link</Copy> : undefined}
      >
        <form
          class="ask"
          onSubmit={(event) => {
            event.preventDefault();
            go(changed(place, { src: form.src.trim(), dst: form.dst.trim(), at: form.at.trim() }));
          }}
        >
          {field("src", "from", "10.1.1.1")}
          {field("dst", "to", "10.2.0.7")}
          {field("at", "how long ago", "now, 10m, …")}
          <button type="submit" disabled={!form.src.trim() || !form.dst.trim()}>
            explain
          </button>
        </form>
        {!isAsked ? (
          <Nothing>Give the source and the destination as a flow log or tcpdump shows them.</Nothing>
        ) : answer.error ? (
          <Problem error={answer.error} />
        ) : !answer.value ? (
          <Waiting />
        ) : (
          <Verdict found={answer.value} />
        )}
      </Card>
    </div>
  );
}

function Verdict({ found }: { found: Explanation }) {
  return (
    <div class="verdict">
      <p>
        <b>{found.verdict}</b>, as node {found.node || "?"} sees it
        {found.charged_to && <>; charged to {found.charged_to}</>}
      </p>
      <Scroll label="The two ends">
        <table class="list">
          <thead>
            <tr>
              <th scope="col">End</th>
              <th scope="col">Address</th>
              <th scope="col">Owner</th>
              <th scope="col">Workload</th>
              <th scope="col">Node</th>
              <th scope="col">Zone</th>
            </tr>
          </thead>
          <tbody>
            {(
              [
                ["from", found.src],
                ["to", found.dst],
              ] as const
            ).map(([name, end]) => (
              <tr key={name}>
                <th scope="row" class="word">{name}</th>
                <td class="word">
                  <code>{end.address}</code>
                </td>
                <td class="name">
                  <span class="word">{end.owner}</span> <Name of={[end.namespace, end.name].filter(Boolean).join("/")} />
                </td>
                <td class="name">{end.workload ? <><Kind of={end.workload_kind ?? ""} /> {end.workload}</> : <None why="the address belongs to no workload" />}</td>
                <td class="name">{end.node || <None why="no node is known" />}</td>
                <td class="word">{end.zone || <None why="no zone is known" />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      <h3>Why</h3>
      <ol>
        {found.why.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ol>
      {found.advice.length > 0 && (
        <>
          <h3>What to do</h3>
          <ul>
            {found.advice.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}
