/** What is drawn when: parts that can wait, and parts that stay as they are. */

import type { ComponentChildren, VNode } from "preact";
import { useEffect, useLayoutEffect, useMemo, useState } from "preact/hooks";

const LATEST = 1000;

/** Call when the browser has nothing else to do, within a second; returns how to call it off. */
export function whenIdle(call: () => void): () => void {
  if (!("requestIdleCallback" in window)) {
    const timer = setTimeout(call, LATEST / 5);
    return () => clearTimeout(timer);
  }
  const asked = requestIdleCallback(call, { timeout: LATEST });
  return () => cancelIdleCallback(asked);
}

/** Its children once the browser has nothing else to do: what is above them is shown before. */
export function Later({ children }: { children: ComponentChildren }) {
  const [isTime, setIsTime] = useState(false);
  useEffect(() => whenIdle(() => setIsTime(true)), []);
  return isTime ? <>{children}</> : null;
}

let isPageShown = false;
const waiting = new Set<(isShown: boolean) => void>();

/** Draw what waits for `usePageShown`, from now on at once. */
export function pageIsShown(): void {
  isPageShown = true;
  for (const one of waiting) one(true);
  waiting.clear();
}

/** Resolves when curves are drawn, if need be before the browser is idle. */
export async function wholePage(): Promise<void> {
  if (!isPageShown) pageIsShown();
  // Preact draws in a microtask that is queued by now.
  await Promise.resolve();
}

/**
 * Whether the page's first frame was shown: until then curves leave their place empty, so that the
 * numbers come sooner.
 */
export function usePageShown(): boolean {
  const [isShown, setIsShown] = useState(isPageShown);
  useLayoutEffect(() => {
    if (isShown) return undefined;
    waiting.add(setIsShown);
    return () => void waiting.delete(setIsShown);
  }, [isShown]);
  return isShown;
}

/** How many of ``count`` parts are drawn: ``first`` at once, then ``step`` more whenever the browser is idle. */
export function useSteps(count: number, first: number, step: number): number {
  const [drawn, setDrawn] = useState(first);
  const isWhole = drawn >= count;
  useEffect(() => (isWhole ? undefined : whenIdle(() => setDrawn(drawn + step))), [drawn, isWhole]);
  return Math.min(drawn, count);
}

/** What ``children`` draws, drawn again only if one of ``of`` is another value. */
export function Kept({ of, children }: { of: readonly unknown[]; children: () => VNode }) {
  return useMemo(children, of);
}
