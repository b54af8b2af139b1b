/** Which servers answered. Pure. */

/** The servers in the order in which they answered, and whether one came back after another. */
export interface Answered {
  instances: readonly number[];
  inTurn: boolean;
}

export const NONE: Answered = { instances: [], inTurn: false };

/**
 * A server that restarts without its state is another one from then on; one that is left and
 * comes back is one of several behind one address.
 */
export function answeredBy(before: Answered, instance: number): Answered {
  if (before.instances.at(-1) === instance) return before;
  const inTurn = before.inTurn || before.instances.includes(instance);
  return { instances: [...before.instances.filter((one) => one !== instance), instance], inTurn };
}
