"""kzn/server/ledger/labels.py: codes are freed in steps, and readers keep the labels they have."""

import numpy as np

from kzn.columns.arrays import I64
from kzn.model.endpoint import POD, Endpoint
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
    before = codes.of_endpoints(ids, index, 0.0)  # type: ignore[arg-type] # no more is asked of it
    shared = codes.shared_tables({"workload", None})["workload"]
    used: dict[LabelKind, list[I64]] = {
        "workload": [before.workload[:2]],
        "owner": [before.owner[:2]],
    }
    steps = [codes.free_unused(used, 4), codes.free_unused(used, 4), codes.free_unused(used, 4)]
    assert steps == [True, False, False]
    assert len(codes.workloads) == 4  # with NONE and OTHER
    after = codes.of_endpoints(ids[:4], index, 1.0)  # type: ignore[arg-type]
    assert after.workload[:2].tolist() == before.workload[:2].tolist()
    names = [codes.workloads.labels[code][2] for code in after.workload.tolist()]
    assert names == ["w0", "w1", "w2", "w3"]
    assert [shared[code][2] for code in before.workload.tolist()] == [f"w{n}" for n in range(8)]


def test_the_codes_without_labels_and_of_other_are_never_freed() -> None:
    codes = LabelCodes()
    for kind in ("pod", "workload", "owner"):
        assert codes.owned[kind].free_unused([], 10) == []
        assert codes.owned[kind].labels[NONE] != codes.owned[kind].labels[OTHER]
