/** The prices that apply to the traffic of this cluster, and what has none. */

import { useAnswer } from "../api";
import { useShared } from "../context";
import { money } from "../format";
import * as promql from "../promql";
import { Card, Copy, None, Nothing, Problem, Scroll, Waiting } from "../parts/controls";

interface PriceRow {
  src_zone: string;
  dst_zone: string;
  src_name: string;
  dst_name: string;
  class: string;
  /** For a byte. */
  sender: number | null;
  receiver: number | null;
  currency: string;
  list: string;
  date: string;
  rule: string;
  source: string;
  unpriced: string;
  detail: string;
}

interface PriceTable {
  prices: PriceRow[];
  lists: { name: string; gb_bytes: number }[];
}

/** Why there is no price; beside it the list's own words, if it has any. */
const UNPRICED: Record<string, string> = {
  no_provider: "the provider of neither end is known",
  no_list: "there is no list of its provider",
  not_valid: "its list is not valid now",
  no_rule: "its list has no rule for it",
  no_zone: "a zone is not known",
  providers_differ: "the ends have two providers",
  left_unpriced: "its list leaves it open",
};

export function Prices() {
  const { meta, names } = useShared();
  const isOn = meta.prices !== null;
  const answer = useAnswer<PriceTable>(isOn ? "api/v1/prices" : "", 300);
  const place = (zone: string, entry: string) => entry || (names.get(zone) ?? (zone || "outside"));
  const unit = new Map(answer.value?.lists.map((list) => [list.name, list.gb_bytes]));
  const units = [...new Set(unit.values())];
  const perGb = (price: number | null, row: PriceRow) =>
    price ? money(price * (unit.get(row.list) ?? 2 ** 30), row.currency) : "free";
  return (
    <div class="screen">
      <h1 class="hidden">Prices</h1>
      <Card
        title="Prices"
        note="for each GB, from zone to zone, on both sides of the bill"
        tools={units.length > 0 && (
          <Copy
            text={units.length === 1 ? promql.prices(units[0] ?? 0) : null}
            why="the lists in use differ in what a GB is"
          >
            PromQL
          </Copy>
        )}
      >
        {!isOn ? (
          <Nothing>
            No price list applies: the nodes have no spec.providerID of a known cloud, or the server runs with{" "}
            <code>--prices off</code>. Set one with <code>kzn server --prices FILE</code>.
          </Nothing>
        ) : !answer.value ? (
          answer.error ? (
            <Problem error={answer.error} />
          ) : (
            <Waiting />
          )
        ) : (
          <Scroll label="prices">
            <table class="list">
              <thead>
                <tr>
                  <th scope="col">From</th>
                  <th scope="col">To</th>
                  <th scope="col">Class</th>
                  <th scope="col" class="number">
                    sender pays
                  </th>
                  <th scope="col" class="number">
                    receiver pays
                  </th>
                  <th scope="col">List</th>
                  <th scope="col">Source</th>
                </tr>
              </thead>
              <tbody>
                {answer.value.prices.map((row, i) => (
                  <tr key={i}>
                    <th scope="row" title={row.src_zone}>
                      {place(row.src_zone, row.src_name)}
                    </th>
                    <td title={row.dst_zone}>{place(row.dst_zone, row.dst_name)}</td>
                    <td class="word">{row.class.replaceAll("_", " ")}</td>
                    {row.unpriced ? (
                      <td colSpan={2} title={row.detail}>
                        no price: {UNPRICED[row.unpriced] ?? row.unpriced.replaceAll("_", " ")}
                      </td>
                    ) : (
                      <>
                        <td class="number">{perGb(row.sender, row)}</td>
                        <td class="number">{perGb(row.receiver, row)}</td>
                      </>
                    )}
                    <td class="word">
                      {row.list ? `${row.list} ${row.date}` : <None why="no list applies" />}
                    </td>
                    <td class="name" title={row.rule}>{row.source || <None why="there is no price" />}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        )}
      </Card>
    </div>
  );
}
