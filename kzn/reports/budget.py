"""A budget of a calendar month, and what of it is used. Pure."""

from dataclasses import dataclass
from typing import Any

from kzn.reports.amounts import Where


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of a currency for a calendar month in UTC, and the filter of what it is for."""

    name: str
    amount: float
    currency: str
    where: Where = ()


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What of a budget is used in the month so far; ``at`` is Unix time, 0 before the first look.

    ``used`` is None while it is not known: then ``reason`` says why. ``forecast`` is None if there
    is not a day of history. ``complete`` says whether the history has all of the month so far,
    without a gap.
    """

    budget: Budget
    at: float = 0.0
    used: float | None = None
    forecast: float | None = None
    unpriced: int = 0
    complete: bool = False
    reason: str = "not asked yet"

    @property
    def used_ratio(self) -> float | None:
        """The share that is used; 1 is all of it."""
        return None if self.used is None else self.used / self.budget.amount

    @property
    def forecast_ratio(self) -> float | None:
        """The share that will have been used at the end of the month."""
        return None if self.forecast is None else self.forecast / self.budget.amount

    def to_json(self) -> dict[str, Any]:
        """The object of /api/v1/budgets."""
        return {
            "name": self.budget.name,
            "amount": self.budget.amount,
            "currency": self.budget.currency,
            "where": {name: list(values) for name, values in self.budget.where},
            "at": self.at or None,
            "used": self.used,
            "used_ratio": self.used_ratio,
            "forecast": self.forecast,
            "forecast_ratio": self.forecast_ratio,
            "unpriced_bytes": self.unpriced,
            "complete": self.complete,
            "reason": self.reason,
        }
