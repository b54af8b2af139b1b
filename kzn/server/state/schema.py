"""The tables of a state file, generated from the labels of the series."""

from operator import attrgetter

from kzn.model.endpoint import Endpoint
from kzn.server.ledger.family import FAMILIES, Family, FamilyName
from kzn.server.ledger.labels import OWNED_KINDS, LabelKind

APPLICATION_ID = 0x6B7A6E73
"""``kzns``, at byte 68 of the file, where file(1) looks too."""
VERSION = 4
"""At byte 60; raised when an older version of kzn would misread the file. Older files are
migrated."""

MAX_INTEGER = 2**63 - 1
"""Largest SQLite integer. Larger values are stored as text: an absurd count sent by an agent must
not make commits fail."""

_OWNER_FIELDS = (
    "kind",
    "namespace",
    "name",
    "workload_kind",
    "workload",
    "node",
    "zone",
    "region",
    "uid",
)
"""The first fields of `Endpoint`; what it costs is known anew from the topology."""
_OWNER = ", ".join(_OWNER_FIELDS)
_OWNER_MARKS = ", ".join("?" * len(_OWNER_FIELDS))


SERIES_COLUMNS = 6
"""Columns of a table of series after its labels."""
_EXPOSURE = "exposed DEFAULT 1, created DEFAULT 0"
"""Whether a scrape shows the bytes (else 0), and when the series began, 0 for unknown."""


_COSTS = "cost DEFAULT 0, priced_bytes DEFAULT 0, cost_currency DEFAULT ''"
"""What the bytes of a series cost."""

_HEARD = "CREATE TABLE heard (node PRIMARY KEY, heard, since, until, counted) WITHOUT ROWID"
"""When each node was heard, and what was counted for it at destinations (resolve/reporting.py)."""

_ROLLOUTS = (
    "CREATE TABLE IF NOT EXISTS rollouts (key TEXT PRIMARY KEY, time, until, namespace, kind, name,"
    " what, old, new, times, via) WITHOUT ROWID"
)
"""Changes of workloads and Services (kzn/topology/rollouts.py); `WATCHED` is beside them."""
WATCHED = "rollouts_watched"
"""Key of ``meta``: when changes were seen, as JSON."""


def _columns(number: int) -> list[str]:
    return [f"label{i}" for i in range(number)]


def _series_table(family: Family) -> str:
    names = ", ".join(family.labels)
    return (
        f"CREATE TABLE {family.name}_series"
        f" ({names}, bytes, {_EXPOSURE}, {_COSTS}, PRIMARY KEY ({names})) WITHOUT ROWID"
    )


def _create() -> str:
    tables = [
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "CREATE TABLE family_sums"
        f" (family TEXT PRIMARY KEY, other, retired, {_EXPOSURE}, {_COSTS}) WITHOUT ROWID",
        "CREATE TABLE zone_labels (region, zone, label, PRIMARY KEY (region, zone)) WITHOUT ROWID",
        f"CREATE TABLE books (node, term, reason, packets, bytes, {_EXPOSURE},"
        " PRIMARY KEY (node, term, reason)) WITHOUT ROWID",
        _HEARD,
        "CREATE TABLE sequences (node, epoch, last, changed,"
        " PRIMARY KEY (node, epoch)) WITHOUT ROWID",
        _ROLLOUTS,
    ]
    tables += map(_series_table, FAMILIES.values())
    for kind, number in OWNED_KINDS.items():
        names = ", ".join(_columns(number))
        tables.append(
            f"CREATE TABLE {kind}_names ({names}, {_OWNER}, PRIMARY KEY ({names})) WITHOUT ROWID"
        )
    return ";\n".join(tables)


CREATE = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
{_create()};
"""


OLD_FAMILIES = ("pod", "workload", "pair", "zone")
"""Those of the layouts before `COSTS_SINCE`."""
COSTS_SINCE = 3
MIGRATE_FROM_1 = [
    f"ALTER TABLE {table} ADD COLUMN {column}"
    for table in (*(f"{family}_series" for family in OLD_FAMILIES), "family_sums", "books")
    for column in _EXPOSURE.split(", ")
] + [_HEARD]
"""Statements: all series of a file of layout 1 were exposed with their bytes."""
MIGRATE_FROM_2 = [
    f"ALTER TABLE {table} ADD COLUMN {column}"
    for table in (*(f"{family}_series" for family in OLD_FAMILIES), "family_sums")
    for column in _COSTS.split(", ")
] + [_series_table(family) for name, family in FAMILIES.items() if name not in OLD_FAMILIES]
"""Statements: layout 2 has no costs."""
MIGRATE_FROM_3: list[str] = []
"""The tables are the same; versions that write layout 3 refuse the reason no_zone of a series."""

ALWAYS = (_ROLLOUTS,)
"""Statements for each file that is opened: tables that files of this layout may lack, and that
other versions which write it leave alone."""


def delete_series(family: FamilyName) -> str:
    """Statement; parameters: the labels of a series."""
    where = " AND ".join(f"{name} = ?" for name in FAMILIES[family].labels)
    return f"DELETE FROM {family}_series WHERE {where}"  # noqa: S608 - constant names


def upsert_series(family: FamilyName) -> str:
    """Statement; parameters: the labels of a series and its `SERIES_COLUMNS`."""
    marks = ", ".join("?" * (len(FAMILIES[family].labels) + SERIES_COLUMNS))
    return f"INSERT OR REPLACE INTO {family}_series VALUES ({marks})"  # noqa: S608 - constant names


def delete_name(kind: LabelKind) -> str:
    """Statement; parameters: the labels of a name."""
    where = " AND ".join(f"{name} = ?" for name in _columns(OWNED_KINDS[kind]))
    return f"DELETE FROM {kind}_names WHERE {where}"  # noqa: S608 - constant names


def upsert_name(kind: LabelKind) -> str:
    """Statement; parameters: the labels of a name, the fields of its endpoint."""
    marks = ", ".join("?" * OWNED_KINDS[kind])
    return f"INSERT OR REPLACE INTO {kind}_names VALUES ({marks}, {_OWNER_MARKS})"  # noqa: S608 - constant names


def endpoint_row(endpoint: Endpoint) -> tuple[str, ...]:
    """The fields of an endpoint, in the order of the columns."""
    row: tuple[str, ...] = attrgetter(*_OWNER_FIELDS)(endpoint)
    return row
