import { expect, test } from "vitest";
import { changed, countOf, format, moved, oneOf, parse, spanOf, zoneOf } from "../src/address";

test.each(["#/", "#/?range=7d", "#/w/shop/cart", "#/w/shop/a%2Fb?tz=local", "#/w//n1", "#/pairs?src=zone&dst=pod", "#/nodes"])(
  "%s is read and written",
  (hash) => expect(format(parse(hash))).toBe(hash),
);

test.each(["", "#", "#/nowhere", "#/w/onlyone", "#/w/%E0%A4%A"])("%s is the overview", (hash) =>
  expect(parse(hash).screen).toBe("overview"),
);

test.each(["a b", "a+b", "100 %", "x&y=z", "#/?", "ns:a'(b)", "ü→", "\\"])("%s in an option is read as it was written", (q) => {
  const address = format(changed(parse("#/pairs"), { q }));
  expect([parse(address).options["q"], address.split("#").length]).toEqual([q, 2]);
});

test("half a character is written as one that is not known", () => {
  expect(parse(format(changed(parse("#/"), { q: "a\uD83D" }))).options["q"]).toBe("a\uFFFD");
});

test("an empty option leaves the address", () => {
  expect(format(changed(parse("#/?q=x&ns=shop"), { q: "" }))).toBe("#/?ns=shop");
});

test("another screen keeps span and time zone, and nothing else", () => {
  expect(format(moved(parse("#/?q=x&range=6h&tz=local&cell=a>b"), "nodes"))).toBe("#/nodes?range=6h&tz=local");
});

test("a span is a known range or two times in order", () => {
  expect(spanOf(parse("#/?range=6h"), "24h").name).toBe("6h");
  expect(spanOf(parse("#/?range=9y"), "24h").name).toBe("24h");
  expect(spanOf(parse("#/?from=10&to=20"), "24h")).toEqual({ name: "custom", from: 10, to: 20 });
  expect(spanOf(parse("#/?from=20&to=10"), "24h").name).toBe("24h");
  expect(spanOf(parse("#/?from=x&to=10"), "24h").name).toBe("24h");
});

test.each(["from=-5&to=10", "from=1&to=99999999", "from=1&to=1e30", "from=1&to=Infinity"])(
  "%s, which the server refuses, is not a span",
  (query) => expect(spanOf(parse(`#/?${query}`), "24h").name).toBe("24h"),
);

test("a span is in whole seconds", () => {
  expect(spanOf(parse("#/?from=10.5&to=20.5"), "24h")).toEqual({ name: "custom", from: 10, to: 21 });
});

test.each([
  ["", 100],
  ["1000", 1000],
  ["99999", 10_000],
  ["-5", 100],
  ["0.5", 100],
  ["0", 100],
  ["all", 100],
])("%s rows are %i", (text, rows) => expect(countOf(parse(`#/?ports=${text}`), "ports", 100, 10_000)).toBe(rows));

test("an option that is not a choice is the first one", () => {
  const names = ["workload", "pod"] as const;
  expect(["pod", "foo", ""].map((name) => oneOf(parse(`#/pairs?src=${name}`), "src", names))).toEqual([
    "pod",
    "workload",
    "workload",
  ]);
});

test("the address wins over the remembered time zone", () => {
  expect([zoneOf(parse("#/?tz=local"), "utc"), zoneOf(parse("#/"), "local"), zoneOf(parse("#/?tz=x"), "utc")]).toEqual([
    "local",
    "local",
    "utc",
  ]);
});
