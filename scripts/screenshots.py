"""Make the pictures of docs/pictures from a demo: the page by Chromium, `kzn top` by rich.

In: root, Debian's Chromium, an installed kzn with the page; some ten minutes. Out: four files, each
below LARGEST bytes. ``--url`` takes the pictures of a demo that serves already.
"""

import argparse
import base64
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast
from urllib.request import urlopen

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI, TerminalTheme

from kzn.client.http import ApiClient
from kzn.top.history import History
from kzn.top.reading import take_reading
from kzn.top.screen import Size, page
from kzn.top.trends import take_trends
from kzn.top.view import View

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
MINUTES = 9
"""Complete minutes of traffic before the first picture."""
ROLLOUT_SECONDS = 270
"""The rollout is in the middle of them."""
DEMO = f"""
from kzn.cli.main import main
from kzn.demo import run
run.ROLLOUT_SECONDS = {ROLLOUT_SECONDS}
main()
"""
LARGEST = 200_000
PAGE = {"width": 1280, "height": 900}
QUALITY = 88
TERMINAL = Size(100, 34)
READINGS, SECONDS = 16, 2.0
LIGHT = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [
        *((36, 41, 47), (207, 34, 46), (17, 99, 41), (149, 86, 0)),
        *((9, 105, 218), (130, 80, 223), (27, 124, 131), (110, 119, 129)),
    ],
)
"""Colours of a light terminal; those of black, red, green, yellow, blue, magenta, cyan, white."""
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Rich names fonts of another site in its SVG; these pictures ask for nothing."""


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of a served demo (default: start one)")
    parser.add_argument("--minutes", type=int, default=MINUTES, help="complete minutes to wait for")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.url:
        _pictures(options.url, options.folder, options.minutes)
        return
    with _demo() as url:
        _pictures(url, options.folder, options.minutes)


@contextmanager
def _demo() -> Iterator[str]:
    command = [sys.executable, "-c", DEMO, "demo", "--serve", "--json"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as demo:
        errors = cast(IO[str], demo.stderr)
        line = errors.readline()
        if not line.startswith("page: "):
            sys.exit(line + errors.read())
        try:
            yield line.split()[1]
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=120)


def _pictures(url: str, folder: Path, minutes: int) -> None:
    base = url.split("#", maxsplit=1)[0]
    begin, end = _minutes(base, minutes)
    for scheme in ("light", "dark"):
        made = _overview(f"{base}#/?from={begin}&to={end}", scheme)
        _write(folder / f"overview-{scheme}.webp", made)
    for scheme, text in _top(base).items():
        _write(folder / f"top-{scheme}.svg", text.encode())


def _write(path: Path, made: bytes) -> None:
    if len(made) > LARGEST:
        sys.exit(f"{path}: {len(made):,} bytes are more than {LARGEST:,}")
    path.write_bytes(made)
    sys.stderr.write(f"{path}: {len(made):,} bytes\n")


def _minutes(base: str, minutes: int) -> tuple[int, int]:
    """Begin and end of the traffic, once it has so many complete minutes."""
    ask = f"{base}api/v1/traffic?since=1h&by=class&points=61"
    while True:
        answer = _json(ask)
        begin, step = answer["from"], answer["step"]
        series = answer["total"]["series"]
        first = next((i for i, size in enumerate(series) if size), len(series))
        start = begin + first * step
        end = answer["complete_to"] or 0
        if end - start >= 60 * minutes:
            # The first minute is seldom a whole one.
            return int(start + 60), int(end)
        time.sleep(10)


def _json(url: str) -> Any:
    while True:
        try:
            with urlopen(url, timeout=60) as answer:  # noqa: S310 - the demo's own URL
                return json.load(answer)
        except OSError:
            time.sleep(2)


def _overview(url: str, scheme: str) -> bytes:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        context = browser.new_context(viewport=PAGE, color_scheme=scheme)
        tab = context.new_page()
        tab.goto(url)
        tab.locator("table").first.wait_for(timeout=60_000)
        tab.get_by_text("asking the server").first.wait_for(state="detached", timeout=60_000)
        tab.wait_for_timeout(1000)
        shot = context.new_cdp_session(tab).send(
            "Page.captureScreenshot", {"format": "webp", "quality": QUALITY}
        )
        browser.close()
    return base64.b64decode(shot["data"])


def _top(base: str) -> dict[str, str]:
    """The first page of `kzn top` as SVG, light and dark."""
    servers, history = [ApiClient(base)], History(60)
    for _ in range(READINGS):
        history.add(take_reading(servers))
        time.sleep(SECONDS)
    drawn = page(history, View(), TERMINAL, "the demo", trends=take_trends(servers))
    found = {}
    for scheme, theme in (("light", LIGHT), ("dark", DIMMED_MONOKAI)):
        console = Console(
            record=True,
            width=TERMINAL.width,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
        )
        console.print(drawn)
        text = console.export_svg(title="kzn top", theme=theme, unique_id="top")
        found[scheme] = FONTS.sub("", text)
    return found


if __name__ == "__main__":
    main()
