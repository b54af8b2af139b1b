/** What all parts of the page share: the place, the span, names of zones, prices. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Meta, Price, Sums } from "./api";
import type { Place, Span } from "./address";
import { money, type Zone } from "./format";

export interface Shared {
  place: Place;
  /** The place as the address has it: it follows when typing pauses. */
  settled: Place;
  /** Show another place; ``typing`` replaces the entry of the history. */
  go: (place: Place, typing?: boolean) => void;
  span: Span;
  zone: Zone;
  meta: Meta;
  names: ReadonlyMap<string, string>;
}

export const Context = createContext<Shared | null>(null);

/** The shared values; only below the context's provider. */
export function useShared(): Shared {
  const found = useContext(Context);
  if (!found) throw new Error("outside the page");
  return found;
}

const MONTH = 730 * 3600;

/** The cost of sums over ``seconds``, as it is and by the month; null if there is no price. */
export function costOf(
  sums: Sums,
  seconds: number,
  prices: readonly Price[] | null,
): { text: string; month: string; amount: number } | null {
  if (!prices || !sums.cost) return null;
  const amounts = Object.entries(sums.cost);
  if (!amounts.length) return null;
  const shown = (factor: number) =>
    amounts.map(([currency, amount]) => money(amount * factor, currency)).join(" + ");
  const amount = amounts.reduce((sum, [, one]) => sum + one, 0);
  return { text: shown(1), month: shown(MONTH / Math.max(seconds, 1)), amount };
}
