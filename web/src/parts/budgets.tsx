/** Budgets of the month and what of them is used; nothing without budgets. */

import { useAnswer } from "../api";
import { useShared } from "../context";
import { instant, money, percent } from "../format";
import { Card, None } from "./controls";

const EVERY = 300;

export interface Budget {
  name: string;
  amount: number;
  currency: string;
  at: number | null;
  used: number | null;
  used_ratio: number | null;
  forecast_ratio: number | null;
  complete: boolean;
  reason: string;
}

/** What is worth a word beside the figures. */
export function remark(budget: Budget): string {
  if (budget.used === null) return budget.reason || "not known";
  const parts = [];
  if ((budget.used_ratio ?? 0) > 1) parts.push("exceeded");
  else if ((budget.forecast_ratio ?? 0) > 1) parts.push("will be exceeded");
  if (!budget.complete) parts.push("a part of the month is not in the history");
  if (budget.reason) parts.push(budget.reason);
  return parts.join("; ");
}

export function Budgets() {
  const { zone } = useShared();
  const { value } = useAnswer<{ budgets: Budget[] }>("api/v1/budgets", EVERY);
  if (!value?.budgets.length) return null;
  const at = Math.max(...value.budgets.map((budget) => budget.at ?? 0));
  return (
    <Card title="Budgets of the month" note={at ? `as of ${instant(at, zone)}` : undefined}>
      <table class="list">
        <thead>
          <tr>
            <th scope="col">Budget</th>
            <th scope="col" class="number">Of</th>
            <th scope="col" class="number">Used</th>
            <th scope="col" class="w4">Share</th>
            <th scope="col" class="number">At its end</th>
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          {value.budgets.map((budget) => (
            <tr key={budget.name}>
              <th scope="row">{budget.name}</th>
              <td class="number">{money(budget.amount, budget.currency)}</td>
              <td class="number">{budget.used === null ? <None why={remark(budget)} /> : money(budget.used, budget.currency)}</td>
              {budget.used_ratio === null ? (
                <td class="w4 share">
                  <None why={remark(budget)} />
                </td>
              ) : (
                <td class="w4 share" style={{ "--share": Math.min(budget.used_ratio, 1).toFixed(4) }}>
                  <span>{percent(budget.used_ratio)}</span>
                </td>
              )}
              <td class="number">{budget.forecast_ratio === null ? <None why={budget.reason || "the month is too young to tell"} /> : percent(budget.forecast_ratio)}</td>
              <td class={(budget.used_ratio ?? 0) > 1 ? "up" : "soft"}>{remark(budget) || "within the budget"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}
