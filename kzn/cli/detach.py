"""``kzn detach``: remove every pinned link and map of kzn from this node."""

from pathlib import Path

import click


@click.command(short_help="Remove every pinned link and map.")
@click.option(
    "--pin-dir",
    type=click.Path(path_type=Path),
    default=Path("/sys/fs/bpf/kzn"),
    show_default=True,
    help="Where the agent pinned them.",
)
def detach(pin_dir: Path) -> None:
    """Take kzn's programs off their hooks and remove every pinned link and map.

    Counts that no server has acknowledged are gone with them. Refused while an agent runs.
    """
    from kzn.agent.pins.install import detach_all

    removed = detach_all(pin_dir)
    for folder in removed:
        click.echo(f"removed {folder}")
    if not removed:
        click.echo(f"nothing of kzn is pinned below {pin_dir}")
