"""kzn/server/http/api.py: the keys of rows, and the limit of a query."""

import pytest

from kzn.client.api import MAX_LIMIT, ROWS, keys
from kzn.errors import UsageError
from kzn.server.http.api import DEFAULT_LIMIT, parse_limit
from kzn.server.ledger.family import FAMILIES


def test_an_api_row_has_the_labels_of_its_series_and_the_bytes() -> None:
    labels = {family.api_list: family.labels for family in FAMILIES.values() if family.api_list}
    assert {topic: keys(row)[:-1] for topic, row in ROWS.items()} == labels
    assert {keys(row)[-1] for row in ROWS.values()} == {"bytes"}


@pytest.mark.parametrize(
    ("text", "limit"), [(None, DEFAULT_LIMIT), ("5", 5), ("0", 1), ("999999999", MAX_LIMIT)]
)
def test_a_limit_is_clamped_between_one_and_the_maximum(text: str | None, limit: int) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 10, "٣"])
def test_a_limit_that_is_not_a_number_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number"):
        parse_limit(text)
