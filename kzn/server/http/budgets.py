"""The page of budgets: /api/v1/budgets.

In: the states of budgets. Out: JSON.
"""

from collections.abc import Callable, Sequence

import msgspec

from kzn.daemon.http.body import body_of
from kzn.daemon.http.messages import JSON, Response, Route
from kzn.reports.budget import BudgetState


def budget_route(states: Callable[[], Sequence[BudgetState]]) -> dict[str, Route]:
    """The route by its path."""
    return {"/api/v1/budgets": Route(lambda _request: answer(states()))}


def answer(states: Sequence[BudgetState]) -> Response:
    """Each budget and what of it is used."""
    found = {"budgets": [state.to_json() for state in states]}
    body = body_of([msgspec.json.encode(found), b"\n"], tagged=True)
    return Response(body, content_type=JSON, headers=(("cache-control", "no-store"),))
