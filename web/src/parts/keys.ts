/** Keys that work wherever the focus is. */

import { useLayoutEffect, useRef } from "preact/hooks";

/**
 * Call ``press`` at each key. It listens as soon as its screen is in the document, not a frame later,
 * and calls what was drawn last.
 */
export function useKeys(press: (event: KeyboardEvent) => void): void {
  const latest = useRef(press);
  latest.current = press;
  useLayoutEffect(() => {
    const call = (event: KeyboardEvent) => latest.current(event);
    document.addEventListener("keydown", call);
    return () => document.removeEventListener("keydown", call);
  }, []);
}
