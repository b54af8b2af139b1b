/** The prices that apply to the traffic of this cluster, and what has none. */

import { useAnswer } from "../api";
import { useShared } from "../context";
import { money } from "../format";
import { Card, Nothing, Problem, Scroll, Waiting } from "../parts/controls";

interface PriceRow {
  src_zone: string;
  dst_zone: string;
  class: string;
  /** For each unit of ``unit_bytes``. */
  sender: number | null;
  receiver: number | null;
  currency: string;
  unit_bytes: number;
  list: string;
  valid_from: string;
  source: string;
  unpriced: string;
}

export function Prices() {
  const { meta, names } = useShared();
  const isOn = meta.prices !== null;
  const answer = useAnswer<{ prices: PriceRow[] }>(isOn ? "api/v1/prices" : "", 300);
  const name = (zone: string) => names.get(zone) ?? (zone || "outside");
  return (
    <div class="screen">
      <h1 class="hidden">Prices</h1>
      <Card title="Prices" note="for each GB, from zone to zone, on both sides of the bill">
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
                      {name(row.src_zone)}
                    </th>
                    <td title={row.dst_zone}>{name(row.dst_zone)}</td>
                    <td>{row.class}</td>
                    {row.unpriced ? (
                      <td colSpan={2}>no price: {row.unpriced}</td>
                    ) : (
                      <>
                        <td class="number">{row.sender ? money(row.sender, row.currency) : "free"}</td>
                        <td class="number">{row.receiver ? money(row.receiver, row.currency) : "free"}</td>
                      </>
                    )}
                    <td>
                      {row.list} {row.valid_from}
                    </td>
                    <td>{row.source}</td>
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
