"""Writes a .dist-info folder as pip does, because probes are found by entry points."""

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[3]


def main(target: Path) -> None:
    """Write the .dist-info folder into ``target``."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    folder = target / f"{project['name']}-{project['version']}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (folder / "METADATA").write_text(about)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
