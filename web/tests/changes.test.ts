import { expect, test } from "vitest";
import type { Traffic } from "../src/api";
import { type Budget, remark } from "../src/parts/budgets";
import { movers } from "../src/parts/movers";

const row = (name: string, bytes: number, before: number) => ({
  cause_namespace: "shop",
  cause_workload: name,
  bytes,
  before,
  packets: 1,
});

const answer: Traffic = {
  from: 0,
  to: 10,
  step: 10,
  by: [],
  rows: [row("same", 5000, 5001), row("more", 900, 300), row("less", 100, 800), row("gone", 0, 250), row("small", 60, 20)],
  other: { bytes: 0, packets: 0, before: 0 },
  total: { bytes: 6060, packets: 5, before: 6371 },
  of: 5,
  complete_from: -10,
  gaps: [],
  source: "minutes",
};

test("what changed most comes first, and what hardly changed is left out", () => {
  expect(movers(answer, 5).map((one) => one["cause_workload"])).toEqual(["less", "more", "gone"]);
  expect(movers(answer, 1).map((one) => one["cause_workload"])).toEqual(["less"]);
});

const budget: Budget = {
  name: "shop",
  amount: 100,
  currency: "USD",
  at: 1,
  used: 50,
  used_ratio: 0.5,
  forecast_ratio: 0.9,
  complete: true,
  reason: "",
};

test("a budget says what is wrong with it", () => {
  expect(remark(budget)).toBe("");
  expect(remark({ ...budget, forecast_ratio: 1.2 })).toBe("will be exceeded");
  expect(remark({ ...budget, used_ratio: 1.1, forecast_ratio: 1.2 })).toBe("exceeded");
  expect(remark({ ...budget, complete: false })).toBe("a part of the month is not in the history");
  expect(remark({ ...budget, used: null, used_ratio: null, reason: "no traffic is priced in USD" })).toBe(
    "no traffic is priced in USD",
  );
});
