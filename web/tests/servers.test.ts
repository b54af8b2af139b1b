import { expect, test } from "vitest";
import { answeredBy, NONE } from "../src/servers";

const after = (...instances: number[]) => instances.reduce(answeredBy, NONE);

test("one server, and one that began anew, are not several", () => {
  expect(after(1, 1, 1)).toEqual({ instances: [1], inTurn: false });
  expect(after(1, 1, 2, 2, 3)).toEqual({ instances: [1, 2, 3], inTurn: false });
});

test("a server that comes back is one of several", () => {
  expect(after(1, 2, 1)).toEqual({ instances: [2, 1], inTurn: true });
  expect(after(1, 2, 1, 3)).toEqual({ instances: [2, 1, 3], inTurn: true });
});
