/** Small controls that screens share. */

import type { ComponentChildren, VNode } from "preact";
import { useRef, useState } from "preact/hooks";
import type { Answer, ApiError, Traffic } from "../api";
import { saveCsv } from "../csv";
import { duration, size } from "../format";
import { useKeys } from "./keys";

/** One of some choices, as buttons. */
export function Choice(props: {
  label: string;
  choices: readonly (readonly [string, string])[];
  value: string;
  onChange: (value: string) => void;
  disabled?: ReadonlyMap<string, string>;
}) {
  return (
    <div class="choice" role="group" aria-label={props.label}>
      {props.choices.map(([value, name]) => {
        const why = props.disabled?.get(value);
        return (
          <button
            key={value}
            type="button"
            aria-pressed={value === props.value}
            aria-disabled={why ? "true" : undefined}
            title={why}
            onClick={() => !why && props.onChange(value)}
          >
            {name}
          </button>
        );
      })}
    </div>
  );
}

/** A button that copies a text and says whether it did; without a text it is crossed out and ``why`` says why. */
export function Copy(props: { text: string | null; why?: string; quiet?: boolean; children: ComponentChildren }) {
  const { text, why, children } = props;
  const [said, setSaid] = useState("");
  const copy = async () => {
    if (text === null) return;
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      done = copyBySelection(text);
    }
    setSaid(done ? "copied" : "could not copy");
    window.setTimeout(() => setSaid(""), 2000);
  };
  return (
    <button
      type="button"
      class={props.quiet ? "quiet" : undefined}
      title={text ?? why}
      aria-disabled={text === null ? "true" : undefined}
      onClick={() => void copy()}
    >
      {said || children}
      <span class="hidden" role="status">
        {said}
      </span>
    </button>
  );
}

/** Without HTTPS there is no clipboard interface. */
function copyBySelection(text: string): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

/** A button that saves an answer as CSV and says why it could not. */
export function Csv({ path, name }: { path: string; name: string }) {
  const [said, setSaid] = useState("");
  const save = () =>
    saveCsv(path, name).then(
      () => setSaid(""),
      (error: unknown) => setSaid(error instanceof Error ? error.message : "failed"),
    );
  return (
    <button type="button" onClick={() => void save()}>
      {said || "CSV"}
    </button>
  );
}

/** A field for a filter; / moves the focus here, Escape empties it. */
export function Filter(props: { value: string; label: string; onChange: (value: string) => void }) {
  const field = useRef<HTMLInputElement>(null);
  useKeys((event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName))
      return;
    event.preventDefault();
    field.current?.focus();
  });
  return (
    <input
      ref={field}
      type="search"
      class="filter"
      placeholder="Filter  /"
      aria-label={props.label}
      value={props.value}
      onInput={(event) => props.onChange(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        props.onChange("");
        event.currentTarget.blur();
      }}
    />
  );
}

/** A card with a title. */
export function Card(props: {
  title: string;
  note?: string | undefined;
  tools?: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}) {
  return (
    <section class={`card ${props.class ?? ""}`}>
      <header>
        <h2>{props.title}</h2>
        {props.note && <span class="note">{props.note}</span>}
        {props.tools && <div class="tools">{props.tools}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** A name that may break after each slash. */
export function Name({ of }: { of: string }) {
  return <>{of.split("/").flatMap((part, i) => (i ? ["/", <wbr key={i} />, part] : [part]))}</>;
}

/** The kind of a workload behind its name. */
export function Kind({ of }: { of: string }) {
  return of ? <span class="kind">{of}</span> : null;
}

/** Instead of numbers: why there are none. */
export function Nothing({ children }: { children: ComponentChildren }) {
  return <p class="nothing">{children}</p>;
}

/** What the server said in place of an answer. */
export function Problem({ error }: { error: ApiError }) {
  return (
    <p class="nothing problem" role="alert">
      {error.message}
      {error.hint && <span>: {error.hint}</span>}
    </p>
  );
}

/** Above numbers that could not be asked for anew; that no server answers is said for the whole page. */
export function Stale({ of }: { of: readonly Answer<unknown>[] }) {
  const found = of.find(({ error, value }) => value !== null && error !== null && error.status > 0);
  if (!found?.error) return null;
  return (
    <p class="stale" role="alert">
      {found.error.message}. These numbers are {duration((Date.now() - found.at) / 1000)} old.
    </p>
  );
}

export function Waiting() {
  return (
    <p class="nothing" role="status">
      asking the server …
    </p>
  );
}

/** A part that scrolls by itself, reached with Tab. */
export function Scroll({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      {children}
    </div>
  );
}

/** In place of a value that there is none of, with the reason. */
export function None({ why }: { why: string }) {
  return (
    <span class="soft" title={why}>
      –<span class="hidden">{why}</span>
    </span>
  );
}

/** Bytes of a group; null without an answer, and of one that may be among those that it has no rows of. */
export function sizeOf(bytes: number | null, answer: Traffic | null): string | VNode {
  if (bytes !== null) return size(bytes);
  return <None why={answer ? "it is among the others" : "the server has not answered yet"} />;
}
