"""A browser, and the page in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page_world import PAGE_TESTS, FakeServer, Show, World
from playwright.sync_api import expect

from kzn.server.http import page as page_files

expect.set_options(timeout=20_000)
"""A machine at work on other things takes long."""
SHOTS = os.environ.get("KZN_SCREENSHOTS")
"""A folder for screenshots of what the tests show; empty: none are taken."""


def chromium() -> str | None:
    """Chromium's path: of the distribution, else what scripts/setup unpacked."""
    own = PAGE_TESTS / "browser" / "chromium"
    return shutil.which("chromium") or (str(own) if own.exists() else None)


def _missing() -> str:
    if chromium() is None:
        return "there is no chromium (scripts/setup web)"
    if not (PAGE_TESTS / "node_modules").is_dir():
        return "web/tests/node_modules is missing (scripts/setup web)"
    if not (page_files.FOLDER / page_files.INDEX).exists():
        return "the page was not built (python hatch_build.py)"
    return ""


@pytest.fixture(scope="session", autouse=True)
def _needs() -> None:
    if missing := _missing():
        if os.environ.get("KZN_REQUIRE_ALL"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="session")
def browser(_needs: None) -> Iterator[Any]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def show(browser: Any, request: pytest.FixtureRequest) -> Iterator[Show]:
    """Opens the page over a world at an address; what the console says fails the test."""
    said: list[str] = []
    closing: list[Callable[[], object]] = []

    def opened(
        world: World | None = None,
        address: str = "#/",
        *,
        url: str = "",
        width: int = 1440,
        height: int = 980,
        scheme: str = "light",
        prefix: str = "",
        expect_errors: bool = False,
        bypass_csp: bool = False,
        own_clock: bool = False,
        first: str = "",
    ) -> Any:
        if not url:
            server = FakeServer(world or World.of(), prefix)
            server.__enter__()
            closing.append(server.__exit__)
            url = server.url
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=bypass_csp
        )
        context.set_default_timeout(20_000)
        closing.insert(0, context.close)
        tab = context.new_page()
        if own_clock:
            tab.clock.install()
        if first:
            tab.add_init_script(first)
        if not expect_errors:
            tab.on(
                "console",
                lambda it: said.append(it.text) if it.type in {"error", "warning"} else None,
            )
            tab.on(
                "requestfailed",
                lambda it: (
                    said.append(it.url) if "net::ERR_ABORTED" not in str(it.failure) else None
                ),
            )
        tab.on("pageerror", lambda it: said.append(str(it)))
        tab.goto(url + address)
        if SHOTS:
            closing.insert(
                0, lambda: tab.screenshot(path=f"{SHOTS}/{request.node.name}.png", full_page=True)
            )
        return tab

    yield opened
    for close in closing:
        close()
    assert said == []
