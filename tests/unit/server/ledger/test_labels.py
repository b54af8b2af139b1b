"""kzn/server/ledger/labels.py: codes are freed in steps, and readers keep the labels they have."""

from dataclasses import replace

import numpy as np
import pytest

from kzn.columns.arrays import I64
from kzn.model.endpoint import POD, STATIC, Endpoint
from kzn.server.ledger.labels import LabelCodes, LabelKind
from kzn.server.ledger.places import NONE, OTHER


class Index:
    """Endpoints by id."""

    def __init__(self, number: int) -> None:
        self._all = [
            Endpoint(POD, "shop", f"p{n}", "Deployment", f"w{n}", "n1", "a", "r", f"u{n}")
            for n in range(number)
        ]

    def endpoint(self, number: int) -> Endpoint:
        return self._all[number]


def test_unused_codes_are_freed_a_part_at_a_time_and_learned_anew() -> None:
    codes, index = LabelCodes(), Index(8)
    ids = np.arange(8, dtype=np.int32)
    codes.of_endpoints(ids, index, 0.0)  # type: ignore[arg-type] # no more is asked of it
    before = codes.of_endpoints(ids, index, 61.0)  # type: ignore[arg-type]
    shared = codes.shared_tables({"workload", None})["workload"]
    used: dict[LabelKind, list[I64]] = {
        "workload": [before.workload[:2]],
        "owner": [before.owner[:2]],
    }
    steps = [codes.free_unused(used, 4), codes.free_unused(used, 4), codes.free_unused(used, 4)]
    assert steps == [True, False, False]
    assert len(codes.workloads) == 4  # with NONE and OTHER
    after = codes.of_endpoints(ids[:4], index, 62.0)  # type: ignore[arg-type]
    assert after.workload[:2].tolist() == before.workload[:2].tolist()
    names = [codes.workloads.labels[code][2] for code in after.workload.tolist()]
    assert names == ["w0", "w1", "w2", "w3"]
    assert len(codes.workloads) == 6
    assert [shared[code][2] for code in before.workload.tolist()] == [f"w{n}" for n in range(8)]


def test_the_codes_without_labels_and_of_other_are_never_freed() -> None:
    codes = LabelCodes()
    for kind in ("pod", "workload", "owner"):
        assert codes.owned[kind].free_unused([], 10) == []
        assert codes.owned[kind].labels[NONE] != codes.owned[kind].labels[OTHER]


def test_what_is_seen_again_after_a_minute_keeps_its_codes_and_owns_its_labels() -> None:
    codes = LabelCodes()
    first, second = (
        Endpoint(POD, "shop", f"p{n}", "Deployment", "web", "n1", "a", "r", f"u{n}")
        for n in range(2)
    )
    index = Index(0)
    index._all = [first, second]
    both = np.array([0, 1, 1], np.int32)
    codes.of_endpoints(both, index, 0.0)  # type: ignore[arg-type]
    before = codes.of_endpoints(both, index, 61.0)  # type: ignore[arg-type]
    assert codes.workloads.owners[before.workload[0]] is second
    after = codes.of_endpoints(both[:1], index, 122.0)  # type: ignore[arg-type]
    assert after.workload[0] == before.workload[0]
    assert codes.workloads.owners[before.workload[0]] is first
    assert codes.owners.owners[before.owner[0]] is first
    renamed = Endpoint(POD, "shop", "p0", "Deployment", "api", "n1", "b", "r", "u0")
    index._all[0] = renamed
    again = codes.of_endpoints(both[:1], index, 183.0)  # type: ignore[arg-type]
    assert codes.workloads.labels[again.workload[0]][2] == "api"
    assert codes.zones.interned.labels[again.zone[0]] == ("b",)


def test_of_zones_with_one_name_the_first_in_the_order_of_flows_has_the_plain_name() -> None:
    codes, index = LabelCodes(), Index(2)
    index._all[1] = replace(index._all[1], region="s")
    found = codes.of_endpoints(np.array([1, 0, 1], np.int32), index, 0.0)  # type: ignore[arg-type]
    labels = codes.zones.interned.labels
    assert [labels[code] for code in found.zone.tolist()] == [("a",), ("r/a",), ("a",)]


@pytest.mark.parametrize("is_zone_known", [False, True])
def test_a_zone_whose_provider_becomes_known_changes_the_place_of_its_endpoints(
    *, is_zone_known: bool
) -> None:
    codes, index = LabelCodes(), Index(0)
    plain = Endpoint(POD, "shop", "p0", "Deployment", "w0", "n1", "a", "r", "u0")
    index._all = [
        replace(plain, kind=STATIC, price_class="managed-database"),
        plain,
        replace(plain, uid="u1", provider="gcp"),
    ]
    first = [1, 0] if is_zone_known else [0]
    before = codes.of_endpoints(np.array(first, np.int32), index, 0.0)  # type: ignore[arg-type]
    assert codes.places.place(int(before.place[-1])) == ("", "r", "a", "managed-database")
    codes.of_endpoints(np.array([2], np.int32), index, 1.0)  # type: ignore[arg-type]
    after = codes.of_endpoints(np.array([0], np.int32), index, 70.0)  # type: ignore[arg-type]
    assert codes.places.place(int(after.place[0])) == ("gcp", "r", "a", "managed-database")
