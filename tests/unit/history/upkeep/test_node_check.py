"""kzn/history/upkeep/node_check.py: rollups of nodes that lack flows are found."""

from pathlib import Path

from questions import T0
from spooled import SERVER, SmallHistory

from kzn.history.segments import DAY, listing
from kzn.history.upkeep.catalog import Catalog
from kzn.history.upkeep.node_check import pairs_of_nodes, unlike
from kzn.history.writing.merging import Merging


def test_only_what_lacks_bytes_is_found_and_damaged_files_hide_nothing(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    for hour in range(4):
        history.write(60 * hour, size=5 + hour)
    history.merge(T0 + 3 * DAY)
    pairs = pairs_of_nodes(Catalog(listing(tmp_path).sizes))
    names = [[one.name.split(SERVER)[0] for one in pair] for pair in pairs]
    begins = [one.begin for one in listing(tmp_path).levels["hour"]]
    assert names == [
        *([f"r{at}-", f"nr{at}-"] for at in begins),
        [f"{kind}{begins[0] // DAY * DAY}-" for kind in ("d", "nd")],
    ]
    merging = Merging(tmp_path, 1 << 30)
    assert unlike(merging, tmp_path, pairs) == []
    short = pairs[1][1]
    short.path(tmp_path).write_bytes(pairs[0][1].path(tmp_path).read_bytes())
    pairs[2][0].path(tmp_path).write_bytes(b"no Parquet")
    pairs[3][1].path(tmp_path).unlink()
    assert unlike(merging, tmp_path, pairs) == [short]
    merging.close()
