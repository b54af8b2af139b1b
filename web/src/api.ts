/** The server's JSON (docs/api.md), and how it is asked. */

import { useEffect, useRef, useState } from "preact/hooks";

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
  ready: boolean;
  why_not_ready: string;
  agents: number;
  nodes: number;
  batches: number;
  nodes_known: number;
  nodes_reporting: number;
  bytes: Record<string, number>;
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

/**
 * Ask now and every ``seconds`` (0: once). After an error it asks again, later each time; the last
 * answer to the same question stays, with ``keeps`` that to another one too. A hidden page does not ask. An empty ``path`` asks nothing.
 */
export function useAnswer<T>(path: string, seconds: number, keeps = false): Answer<T> {
  const [answer, setAnswer] = useState<Omit<Answer<T>, "isOld"> & { path: string }>({
    value: null,
    error: null,
    at: 0,
    path: "",
  });
  const failures = useRef(0);
  useEffect(() => {
    if (!path) return undefined;
    const gone = new AbortController();
    let timer = 0;
    const next = (milliseconds: number) => {
      if (milliseconds > 0) timer = window.setTimeout(turn, milliseconds);
    };
    const turn = async () => {
      if (document.hidden) {
        document.addEventListener("visibilitychange", () => void turn(), {
          once: true,
          signal: gone.signal,
        });
        return;
      }
      try {
        const value = await ask<T>(path, gone.signal);
        if (gone.signal.aborted) return;
        failures.current = 0;
        setAnswer({ value, error: null, at: Date.now(), path });
        next(seconds * 1000);
      } catch (error) {
        if (gone.signal.aborted || !(error instanceof ApiError)) return;
        failures.current += 1;
        setAnswer((old) => ({ ...old, value: old.path === path ? old.value : null, error, path }));
        const wait = FIRST_RETRY * 2 ** Math.min(failures.current - 1, 5);
        if (error.status === 0 || error.status >= 500) next(Math.min(wait, LAST_RETRY));
        else next(seconds * 1000);
      }
    };
    void turn();
    return () => {
      gone.abort();
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

/** Whether the whole period before the answer's span is kept. */
export function hasBefore(answer: Traffic): boolean {
  return answer.complete_from !== null && answer.complete_from <= 2 * answer.from - answer.to;
}

/** A label of a row as text; empty if it has none. */
export function label(row: Row, dimension: string): string {
  const value = row[dimension];
  return value === undefined || value === null ? "" : String(value);
}
