"""The folder of the C headers that a probe's object is built with; they are installed with kzn."""

from pathlib import Path

from kzn.errors import KznError

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "include", PACKAGE.parent / "bpf" / "src")
"""In an installed kzn; in a checkout."""


def headers(places: tuple[Path, ...] = PLACES) -> Path:
    """The folder with flow.h and account.bpf.h; KznError when this installation lacks it."""
    for folder in places:
        if (folder / "flow.h").is_file():
            return folder
    raise KznError(
        f"the headers of kzn are missing: {places[0]} has no flow.h",
        hint="the installation is incomplete; reinstall kzn",
    )
