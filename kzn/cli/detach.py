"""``kzn detach``: remove every pinned link and map of kzn from this node."""

from pathlib import Path

import click

from kzn.cli.params import pin_dir_option


@click.command()
@pin_dir_option
def detach(pin_dir: Path) -> None:
    """The programs are detached from their hooks, and every pinned link and map is removed.

    Counts that no server has acknowledged are lost. Fails while an agent runs.
    """
    from kzn.agent.pins.install import detach_all

    removed = detach_all(pin_dir)
    for folder in removed:
        click.echo(f"removed {folder}")
    if not removed:
        click.echo(f"{pin_dir} has no pins of kzn")
