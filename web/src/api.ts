/** The server's JSON (docs/api.md), and how it is asked. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";

/** Sums of one row, of the rest, or of all. ``cost`` is by currency. */
export interface Sums {
  bytes: number;
  packets: number;
  before?: number | null;
  series?: number[];
  cost?: Record<string, number>;
  unpriced_bytes?: number;
}

export type Row = Sums & Record<string, unknown>;

/** A span without numbers, with the reason. */
export interface Gap {
  from: number;
  to: number;
  reason: string;
}

export interface Traffic {
  from: number;
  to: number;
  step: number;
  by: string[];
  rows: Row[];
  other: Sums;
  total: Sums;
  of: number;
  complete_from: number | null;
  complete_to?: number | null;
  gaps: Gap[];
  source: string;
}

export interface Price {
  list: string;
  valid_from: string;
  /** When its source was read. */
  date: string;
  currency: string;
}

export interface Meta {
  version: string;
  cluster: string;
  zones: string[];
  ranges: string[];
  resolution: number;
  kept: Record<string, number>;
  prices: Price[] | null;
  prometheus: string | null;
}

export interface Notice {
  kind: string;
  text: string;
  names?: string[];
  hint?: string;
}

export interface Status {
  /** Of the server that answered: kept over a restart with --state. */
  instance: number;
  ready: boolean;
  why_not_ready: string;
  agents: number;
  nodes: number;
  batches: number;
  nodes_known: number;
  nodes_reporting: number;
  bytes: Record<string, number>;
  /** Since the first agent connected, and until its first interval ends; of an older server neither. */
  connected_seconds?: number | null;
  first_batch_seconds?: number | null;
}

export interface NodeRow {
  node: string;
  seconds_since_batch: number;
  [term: string]: number | string | Record<string, number>;
}

/** Why there is no answer: what the server said, or that it does not answer. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** An answer, the newest that came; ``error`` if the last request had none. */
export interface Answer<T> {
  value: T | null;
  error: ApiError | null;
  /** When ``value`` came, in milliseconds. */
  at: number;
  /** Whether ``value`` answers an earlier question. */
  isOld: boolean;
}

const FIRST_RETRY = 2000;
const LAST_RETRY = 60_000;
const DEADLINE = 30_000;

export type Query = Record<string, string | number | readonly string[] | undefined>;

/** The address of a request, relative to the page. */
export function pathOf(topic: string, query: Query = {}): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) found.append(name, String(one));
  }
  const text = found.toString();
  return `api/v1/${topic}${text ? `?${text}` : ""}`;
}

/** Ask once. ApiError with status 0 if the server does not answer. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  const late = AbortSignal.timeout(DEADLINE);
  let answer: Response;
  try {
    answer = await fetch(path, { signal: signal ? AbortSignal.any([signal, late]) : late });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The server does not answer", 0, "");
  }
  const body: unknown = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body as T;
  const said = (body ?? {}) as { error?: string; hint?: string };
  throw new ApiError(said.error ?? `status ${answer.status}`, answer.status, said.hint ?? "");
}

interface Early {
  /** Ends with the answer, or undefined where there was none. */
  asked: Promise<unknown>;
  /** The answer, once it came. */
  value?: unknown;
}

const early = new Map<string, Early>();

/**
 * Ask before the part that shows the answer is drawn: its first `useAnswer` of this path takes it.
 * Resolves when the answer came or failed.
 */
export function askEarly<T>(path: string): Promise<T | undefined> {
  const one: Early = { asked: Promise.resolve(undefined) };
  one.asked = ask<T>(path).then(
    (value) => (one.value = value),
    () => early.delete(path) && undefined,
  );
  early.set(path, one);
  return one.asked as Promise<T | undefined>;
}

/** Take what was asked for before: the next question goes to the server. */
function takeEarly(path: string): Early | undefined {
  const found = early.get(path);
  early.delete(path);
  return found;
}

/** What waits to ask again after an error; asked at once when the server answers one of them. */
const retries = new Set<() => void>();

function retryAll(): void {
  const waiting = [...retries];
  retries.clear();
  for (const retry of waiting) retry();
}

/**
 * Ask now and every ``seconds`` (0: once). After an error it asks again, later each time; the last
 * answer to the same question stays, with ``keeps`` that to another one too. A hidden page does not ask. An empty ``path`` asks nothing.
 */
export function useAnswer<T>(path: string, seconds: number, keeps = false): Answer<T> {
  const [answer, setAnswer] = useState<Omit<Answer<T>, "isOld"> & { path: string }>(() => {
    const value = early.get(path)?.value as T | undefined;
    return value === undefined
      ? { value: null, error: null, at: 0, path: "" }
      : { value, error: null, at: Date.now(), path };
  });
  const failures = useRef(0);
  // Not useEffect, which waits for the frame that shows that there is no answer yet.
  useLayoutEffect(() => {
    if (!path) return undefined;
    const gone = new AbortController();
    let timer = 0;
    const next = (milliseconds: number) => {
      if (milliseconds > 0) timer = window.setTimeout(() => void turn(), milliseconds);
    };
    const retry = () => {
      window.clearTimeout(timer);
      void turn();
    };
    const begun = takeEarly(path);
    const turn = async (asked?: Promise<unknown>) => {
      retries.delete(retry);
      if (document.hidden) {
        document.addEventListener("visibilitychange", () => void turn(), {
          once: true,
          signal: gone.signal,
        });
        return;
      }
      try {
        const value = ((await asked) as T | undefined) ?? (await ask<T>(path, gone.signal));
        if (gone.signal.aborted) return;
        const isBack = failures.current > 0;
        failures.current = 0;
        setAnswer({ value, error: null, at: Date.now(), path });
        next(seconds * 1000);
        if (isBack) retryAll();
      } catch (error) {
        if (gone.signal.aborted || !(error instanceof ApiError)) return;
        failures.current += 1;
        setAnswer((old) => ({ ...old, value: old.path === path ? old.value : null, error, path }));
        const wait = FIRST_RETRY * 2 ** Math.min(failures.current - 1, 5);
        if (error.status === 0 || error.status >= 500) {
          next(Math.min(wait, LAST_RETRY));
          retries.add(retry);
        } else next(seconds * 1000);
      }
    };
    if (begun && begun.value === answer.value && answer.path === path) next(seconds * 1000);
    else void turn(begun?.asked);
    return () => {
      gone.abort();
      retries.delete(retry);
      window.clearTimeout(timer);
    };
  }, [path, seconds]);
  // An answer to another question is none, unless the screen says that it shows it meanwhile.
  return keeps || answer.path === path
    ? { ...answer, isOld: answer.path !== path }
    : { value: null, error: null, at: 0, isOld: true };
}

/** Seconds of the span of which there are numbers, at least one step. */
export function counted(answer: Traffic): number {
  const from = Math.max(answer.from, answer.complete_from ?? answer.from);
  const to = Math.min(answer.to, answer.complete_to ?? answer.to);
  return Math.max(to - from, Math.min(answer.step, 60));
}

/** The part of the answer's series that has numbers: a first point and one after the last. */
export function known(answer: Traffic): [number, number] {
  const points = Math.round((answer.to - answer.from) / answer.step);
  const at = (time: number) => Math.floor((time - answer.from) / answer.step);
  const first = Math.max(0, at(answer.complete_from ?? answer.from));
  const last = Math.min(points, at(answer.complete_to ?? answer.to));
  return last > first ? [first, last] : [Math.max(0, Math.min(first, points - 2)), points];
}

/** Whether the whole period before the answer's span is kept. */
export function hasBefore(answer: Traffic): boolean {
  return answer.complete_from !== null && answer.complete_from <= 2 * answer.from - answer.to;
}

/** A label of a row as text; empty if it has none. */
export function label(row: Row, dimension: string): string {
  const value = row[dimension];
  return value === undefined || value === null ? "" : String(value);
}
