import { describe, expect, test } from "vitest";
import { change, duration, instant, money, percent, shortRate, shortZones, size, tick, grouped } from "../src/format";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.00 kB"],
  [999_499, "999 kB"],
  [999_500, "1.00 MB"],
  [12_345_678, "12.3 MB"],
  [89_500_000_000_000, "89.5 TB"],
  [2 ** 63, "9.22 EB"],
])("%d bytes are %s", (bytes, text) => expect(size(bytes)).toBe(text));

test("an axis has no digits that are zero", () => {
  expect([0, 1e9, 1.5e9, 5e8].map(shortRate)).toEqual(["0", "1 GB/s", "1.5 GB/s", "500 MB/s"]);
});

test.each([
  [0, "USD", "$0.00"],
  [0.004, "USD", "< $0.01"],
  [12.345, "USD", "$12.35"],
  [1791.4, "USD", "$1,791"],
  [54435, "CHF", "54,435 CHF"],
  [-3, "EUR", "−€3.00"],
])("%d %s is %s", (amount, currency, text) => expect(money(amount, currency)).toBe(text));

test.each([
  [0.41, "41 %"],
  [0.158, "15.8 %"],
  [0.0001, "< 0.1 %"],
  [0, "0 %"],
  [Number.NaN, "–"],
])("share %d is %s", (share, text) => expect(percent(share)).toBe(text));

describe("change", () => {
  test.each([
    [106, 100, "+6 %"],
    [81, 100, "−19 %"],
    [100, 100, "0 %"],
    [5, 0, "new"],
    [0, 0, "0 %"],
    [2000, 1, "× 2,000"],
  ])("%d after %d is %s", (now, before, text) => expect(change(now, before)).toBe(text));

  test("without a period before there is none", () => {
    expect([change(1, null), change(1, undefined)]).toEqual(["", ""]);
  });
});

test("times are in the chosen zone", () => {
  expect(instant(1_795_000_000, "utc")).toBe("2026-11-18 11:06 UTC");
  expect(tick(1_795_000_000, 3600, "utc")).toBe("11:06");
  expect(tick(1_795_000_000, 2 * 86_400, "utc")).toBe("11-18 11:06");
  expect(tick(1_795_000_000, 30 * 86_400, "utc")).toBe("11-18");
});

test("durations have one unit", () => {
  expect([4, 119, 900, 7200, 200_000].map(duration)).toEqual(["4 s", "119 s", "15 min", "2 h", "2 d"]);
});

describe("short names of zones", () => {
  const of = (...names: string[]) => names.map((name) => shortZones(names).get(name));
  test("lose what all have", () => expect(of("eu-west-1a", "eu-west-1b")).toEqual(["a", "b"]));
  test("keep whole numbers", () => expect(of("zone-10", "zone-11")).toEqual(["10", "11"]));
  test("stay if there is one", () => expect(of("eu-west-1a")).toEqual(["eu-west-1a"]));
  test("stay if one is the beginning of the other", () => expect(of("a", "ab")).toEqual(["a", "ab"]));
  test("outside has a name", () => expect(of("", "x-1", "x-2")).toEqual(["outside", "1", "2"]));
});

test("thousands are grouped", () => {
  expect([grouped(0, 0), grouped(999, 0), grouped(1234567.6, 0), grouped(1000, 2)]).toEqual(["0", "999", "1,234,568", "1,000.00"]);
});
