import { expect, test } from "vitest";
import { changed, format, moved, parse, spanOf, zoneOf } from "../src/address";

test.each(["#/", "#/?range=7d", "#/w/shop/cart", "#/w/shop/a%2Fb?tz=local", "#/w//n1", "#/pairs?src=zone&dst=pod", "#/nodes"])(
  "%s is read and written",
  (hash) => expect(format(parse(hash))).toBe(hash),
);

test.each(["", "#", "#/nowhere", "#/w/onlyone", "#/w/%E0%A4%A"])("%s is the overview", (hash) =>
  expect(parse(hash).screen).toBe("overview"),
);

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

test("the address wins over the remembered time zone", () => {
  expect([zoneOf(parse("#/?tz=local"), "utc"), zoneOf(parse("#/"), "local"), zoneOf(parse("#/?tz=x"), "utc")]).toEqual([
    "local",
    "local",
    "utc",
  ]);
});
