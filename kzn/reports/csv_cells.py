"""Names in CSV that people open in a spreadsheet. Pure."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are full-width, which spreadsheets of some languages take for the others."""


def cell_of(name: str) -> str:
    """A name that no spreadsheet takes for a formula: groups and static names may be any text."""
    return f"'{name}" if name.startswith(_FORMULA) else name
