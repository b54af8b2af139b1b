"""Names in CSV that people open in a spreadsheet. Pure."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell_of(name: str) -> str:
    """A name that no spreadsheet takes for a formula: groups and static names may be any text."""
    return f"'{name}" if name.startswith(_FORMULA) else name
