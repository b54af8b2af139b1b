import { expect, test } from "vitest";
import { counted, known, type Traffic } from "../src/api";
import { csvOf } from "../src/csv";
import { chartWidth, matrixRowsInSight, rowsInSight, timeTicks, valueTicks } from "../src/charts/scale";
import { thinned } from "../src/charts/spark";
import { zonesOf } from "../src/charts/zones";
import { cellWhere, traffic } from "../src/queries";
import { peersOf, questionsOf } from "../src/screens/workload";
import { bytesBy, layers, matches } from "../src/workloads";

const answer: Traffic = {
  from: 0,
  to: 20,
  step: 10,
  by: ["cause_namespace", "cause_workload"],
  rows: [
    { cause_namespace: "shop", cause_workload: "web", bytes: 30, packets: 3, series: [10, 20] },
    { cause_namespace: "", cause_workload: "n1", bytes: 20, packets: 2, series: [15, 5] },
    { cause_namespace: "shop", cause_workload: "cart", bytes: 5, packets: 1, series: [5, 0] },
  ],
  other: { bytes: 4, packets: 1, series: [1, 3] },
  total: { bytes: 59, packets: 7, series: [31, 28] },
  of: 5,
  complete_from: null,
  gaps: [],
  source: "raw",
};

test("the layers of a chart add up to the total", () => {
  const found = layers(answer, "cause", 2);
  expect(found.map((layer) => layer.name)).toEqual(["all others", "n1", "shop/web"]);
  const sums = [0, 1].map((i) => found.reduce((sum, layer) => sum + (layer.values[i] ?? 0), 0));
  expect(sums).toEqual([31, 28]);
});

test("without others there is no layer for them", () => {
  const whole = { ...answer, total: { ...answer.total, series: [30, 25] } };
  expect(layers(whole, "cause", 5).map((layer) => layer.name)).toEqual(["shop/cart", "n1", "shop/web"]);
});

test("a filter wants all its words", () => {
  expect([matches("shop/web", "SH we"), matches("shop/web", "cart"), matches("x", " ")]).toEqual([true, false, true]);
});

test("peers are added up over both ways, with who asked", () => {
  const row = (end: string, name: string, initiator: string, bytes: number) => ({
    [`${end}_namespace`]: "d",
    [`${end}_workload`]: name,
    [`${end}_workload_kind`]: "StatefulSet",
    initiator,
    bytes,
    packets: 1,
  });
  const sent = [row("dst", "db", "source", 10), row("dst", "log", "unknown", 2)];
  const received = [row("src", "db", "destination", 100), row("src", "db", "source", 1)];
  const [db, log] = [
    { name: "d/db", kind: "StatefulSet", sent: 10, received: 101, own: 110, theirs: 1 },
    { name: "d/log", kind: "StatefulSet", sent: 2, received: 0, own: 0, theirs: 0 },
  ];
  expect(peersOf({ rows: sent, of: 2 }, { rows: received, of: 2 })).toEqual([db, log]);
  // A peer without a row may be among those that the answer left out.
  expect(peersOf({ rows: sent, of: 2 }, { rows: received, of: 3 })).toEqual([db, { ...log, received: null }]);
});

test("the server answers every question about a workload", () => {
  for (const { limit = 50, points = 0 } of Object.values(questionsOf("shop/web", "Deployment"))) {
    // MAX_LIMIT and MAX_CELLS of kzn/history/query.py.
    expect(limit).toBeLessThanOrEqual(10_000);
    expect(limit * points).toBeLessThanOrEqual(1_000_000);
  }
});

test("a workload without a row has nothing, unless the answer left rows out", () => {
  const whole = bytesBy({ ...answer, of: 3 }, "cause");
  expect([whole(":shop/web"), whole(":shop/db")]).toEqual([30, 0]);
  const cut = bytesBy(answer, "cause");
  expect([cut(":shop/web"), cut(":shop/db"), bytesBy(null, "cause")(":shop/web")]).toEqual([30, null, null]);
});

test("a question becomes a path", () => {
  const span = { name: "6h", from: null, to: null };
  expect(traffic(span, { by: ["src_zone", "dst_zone"], where: ["class:cross_zone"], limit: 5, compare: true })).toBe(
    "api/v1/traffic?since=6h&by=src_zone%2Cdst_zone&where=class%3Across_zone&limit=5&compare=previous",
  );
  expect(traffic({ name: "custom", from: 1, to: 2 }, { by: ["port"], points: 3 })).toBe(
    "api/v1/traffic?from=1&to=2&by=port&limit=50&points=3",
  );
});

test("a cell is a filter on both ends", () => {
  expect(cellWhere("a>b")).toEqual(["src_zone:a", "dst_zone:b"]);
  expect(cellWhere("")).toEqual([]);
});

test("zones are in order, outside last", () => {
  const cell = (src: string, dst: string) => ({ src, dst, bytes: 1, cost: "" });
  expect(zonesOf([cell("b", ""), cell("a", "b")])).toEqual(["a", "b", ""]);
});

test("ticks are round", () => {
  expect(valueTicks(1.2e9, 3)).toEqual([0, 5e8, 1e9]);
  expect(valueTicks(0, 3)).toEqual([0]);
  expect(timeTicks(0, 86_400, 8, 0)).toHaveLength(9);
  expect(timeTicks(100, 86_400, 8, 3600)[0]).toBe(7200);
});

test("CSV has the rest and the total, and quotes what needs it", () => {
  const rows = [{ cause_namespace: "a", cause_workload: 'x,"y"', bytes: 30, packets: 3, cost: { USD: 0.5 }, unpriced_bytes: 1 }];
  const other = { bytes: 0, packets: 0, cost: {}, unpriced_bytes: 0 };
  const total = { bytes: 30, packets: 3, cost: { USD: 0.5 }, unpriced_bytes: 1 };
  expect(csvOf({ ...answer, rows, other, total })).toBe(
    [
      "cause_namespace,cause_workload,bytes,packets,cost_USD,unpriced_bytes",
      'a,"x,""y""",30,3,0.5,1',
      "(other),,0,0,0,0",
      "(total),,30,3,0.5,1",
      "",
    ].join("\r\n"),
  );
});

test.each(["=1+1", "+1", "-1", "@x", "\t=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"])("the name %j is not a formula of a spreadsheet", (group) => {
  const sums = { bytes: 30, packets: 3, cost: {}, unpriced_bytes: 0 };
  const rows = [{ cause_namespace: group, cause_workload: "x", ...sums }];
  const text = csvOf({ ...answer, rows, other: sums, total: sums });
  expect(text).toContain(`\r\n'${group},x,30,3,0\r\n`);
});

test("a month is told from the seconds that were counted", () => {
  const hour = { ...answer, from: 0, to: 3600, step: 60 };
  expect(counted({ ...hour, complete_from: 0 })).toBe(3600);
  expect(counted({ ...hour, complete_from: 3480, complete_to: 3540 })).toBe(60);
  expect(counted({ ...hour, complete_from: null })).toBe(3600);
  expect(counted({ ...hour, complete_from: 3600 })).toBe(60);
});

test("a chart is drawn about as wide as it will be", () => {
  expect(chartWidth(390, false)).toBe(344);
  expect(chartWidth(820, false)).toBe(758);
  expect(chartWidth(1440, false)).toBe(715);
  expect(chartWidth(1440, true)).toBe(922);
  expect(chartWidth(2560, false)).toBe(843);
});

test("a curve begins and ends where there are numbers", () => {
  const hour = { ...answer, from: 0, to: 3600, step: 25 };
  expect(known({ ...hour, complete_from: null })).toEqual([0, 144]);
  expect(known({ ...hour, complete_from: 0, complete_to: 3600 })).toEqual([0, 144]);
  expect(known({ ...hour, complete_from: -60, complete_to: null })).toEqual([0, 144]);
  expect(known({ ...hour, complete_from: 3000, complete_to: 3540 })).toEqual([120, 141]);
  // A single point is one; of none there is nothing to draw, at the end.
  expect(known({ ...hour, complete_from: 3540, complete_to: 3570 })).toEqual([141, 142]);
  expect(known({ ...hour, complete_from: 3600, complete_to: 3600 })).toEqual([142, 144]);
});

test("a small curve has means of points that follow one another", () => {
  expect(thinned([1, 3, 10, 20, 7], 2)).toEqual([2, 15, 7]);
  expect(thinned([1, 3], 1)).toEqual([1, 3]);
});

test("rows that a window shows before it is scrolled", () => {
  expect([rowsInSight(300), rowsInSight(720), rowsInSight(1440)]).toEqual([6, 9, 35]);
  expect([matrixRowsInSight(480), matrixRowsInSight(720)]).toEqual([8, 12]);
});
