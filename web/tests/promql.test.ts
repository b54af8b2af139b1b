import { expect, test } from "vitest";
import { caused, pairs, peers, prices, rangeOf, topCaused } from "../src/promql";

const DAY = { name: "24h", from: null, to: null };

test("a span is a range", () => {
  expect(rangeOf(DAY)).toBe("[24h]");
  expect(rangeOf({ name: "custom", from: 1000, to: 1600 })).toBe("[600s] @ 1600");
});

test("what a workload causes is what it sends or has sent to it, by the opener", () => {
  expect(caused("increase", DAY, ["src_zone"], { namespace: "shop", workload: "web", cell: "a>b" })).toBe(
    [
      "sum by (src_zone) (",
      '  increase(kzn_workload_pair_bytes_total{initiator!="destination", src_namespace="shop", src_workload="web", src_zone="a", dst_zone="b"}[24h])',
      '  or increase(kzn_workload_pair_bytes_total{initiator="destination", dst_namespace="shop", dst_workload="web", src_zone="a", dst_zone="b"}[24h])',
      ")",
    ].join("\n"),
  );
});

test("the cause has labels of its own", () => {
  const found = topCaused(5, DAY, {});
  expect(found.startsWith("topk(5, sum by (namespace, workload) (")).toBe(true);
  expect(found).toContain('label_replace(label_replace(rate(kzn_workload_pair_bytes_total{initiator!="destination"}[5m])');
  expect(found).toContain('"workload", "$1", "dst_workload", "(.*)")');
});

test("names are quoted, and an empty one is a name", () => {
  expect(peers(DAY, "", 'we"b\\', "src")).toContain('src_namespace="", src_workload="we\\"b\\\\"');
});

test("pairs that no metric has are named", () => {
  expect(pairs(DAY, ["src_namespace", "src_workload_kind", "src_workload", "dst_zone", "initiator"]).query).toBe(
    "sum by (src_namespace, src_workload, dst_zone, initiator) (increase(kzn_workload_pair_bytes_total[24h]))",
  );
  expect(pairs(DAY, ["src_zone", "dst_zone", "class"]).query).toBe(
    'sum by (src_zone, dst_zone, class) (increase(kzn_zone_traffic_bytes_total{class=~"cross_zone|cross_region"}[24h]))',
  );
  expect(pairs(DAY, ["src_pod", "dst_zone"])).toEqual({ query: null, missing: "src_pod" });
});

test("a price is that of a GB", () => {
  expect(prices(2 ** 30)).toBe("max by (src_zone, dst_zone, class, side, currency) (kzn_traffic_price) * 1073741824");
});
