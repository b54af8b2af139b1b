"""kzn/cli/main.py: lazy imports, options from the environment, errors without a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from kzn import __version__
from kzn.cli import main
from kzn.cli.main import SUBCOMMANDS, Subcommand
from kzn.errors import KznError, UnsupportedError

Body = Callable[..., object]
LIGHT = {"kzn", "kzn.cli", "kzn.cli.main", "kzn.cli.output", "kzn.cli.output.stdout", "kzn.errors"}
"""All of kzn that ``kzn --help`` imports. Everything else would make it slow."""
PACKAGES = {"click", "kzn"}
"""And all that is not of the standard library."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """Adds a subcommand ``try`` with some options and the given body."""

    def add(body: Body) -> None:
        module = ModuleType("kzn_try")

        @click.command("try")
        @click.option("--max-flows", type=int, default=1)
        @click.option("--print", "print_only", is_flag=True)
        @click.option("--own", envvar="OWN_NAME", default="")
        @click.option("--shut", allow_from_autoenv=False, default="")
        def attempt(**options: object) -> object:
            """Try."""
            return body(**options)

        module.__dict__["attempt"] = attempt
        monkeypatch.setitem(sys.modules, "kzn_try", module)
        monkeypatch.setitem(SUBCOMMANDS, "try", Subcommand("kzn_try:attempt", "Try.", "demo"))

    return add


def raising(error: BaseException) -> Body:
    def body(**_options: object) -> None:
        raise error

    return body


def kzn(*args: str, **popen: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "kzn.cli.main", *args], text=True, check=False, **popen
    )


def test_help_imports_no_command_and_no_package_but_click() -> None:
    code = (
        "import sys; before = set(sys.modules); from kzn.cli.main import run; run(['--help']); "
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split())
    packages = {module.partition(".")[0] for module in imported}
    assert packages - set(sys.stdlib_module_names) == PACKAGES
    assert {module for module in imported if module.startswith("kzn")} == LIGHT
    assert "asyncio" not in packages


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, subcommand in SUBCOMMANDS.items():
        assert f"  {name} " in shown
        assert subcommand.summary in shown


@pytest.mark.parametrize("name", list(SUBCOMMANDS))
def test_every_command_can_be_loaded_and_its_options_set_by_variables(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([name, "--help"]) == 0
    command = main.load(name, SUBCOMMANDS[name])
    own = [p for p in command.params if isinstance(p, click.Option) and p.allow_from_autoenv]
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.partition("Usage: ")[2].count(SUBCOMMANDS[name].summary) == 1
    for option in own:
        assert str(option.envvar).startswith("KZN_")
        assert f"env var: {option.envvar}" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"kzn {__version__}\n"


def test_an_option_is_set_by_the_variable_of_its_long_name(
    command: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}
    command(lambda **options: seen.update(options))
    for name, value in {
        "KZN_MAX_FLOWS": "7",
        "KZN_PRINT": "1",
        "OWN_NAME": "own",
        "KZN_SHUT": "never",
    }.items():
        monkeypatch.setenv(name, value)
    assert main.run(["try"]) == 0
    assert seen == {"max_flows": 7, "print_only": True, "own": "own", "shut": ""}
    assert main.run(["try", "--max-flows", "8"]) == 0
    assert seen["max_flows"] == 8


def test_an_error_of_kzn_is_a_sentence_a_hint_and_its_exit_code(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(UnsupportedError("attach postrouting/ipv6: EPERM", hint="run as root")))
    assert main.run(["try"]) == 3
    shown = capsys.readouterr()
    assert shown.err == "kzn: attach postrouting/ipv6: EPERM\nhint: run as root\n"
    assert shown.out == ""


def test_errors_of_kzn_in_a_group_are_one_sentence_each(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    inner = ExceptionGroup("", [UnsupportedError("two")])
    command(raising(ExceptionGroup("", [KznError("one", hint="h"), inner])))
    assert main.run(["try"]) == 3
    assert capsys.readouterr().err == "kzn: one\nhint: h\nkzn: two\n"


def test_another_error_in_a_group_is_raised(command: Callable[[Body], None]) -> None:
    command(raising(ExceptionGroup("", [KznError("one"), ValueError("a bug")])))
    with pytest.raises(ExceptionGroup):
        main.run(["try"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lambda **_: None, 0),
        (lambda **_: 1, 1),
        (lambda **_: click.get_current_context().exit(3), 3),
        (raising(KeyboardInterrupt()), 130),
        (raising(KznError("x")), 1),
        (raising(click.UsageError("x")), 2),
    ],
)
def test_exit_codes(command: Callable[[Body], None], body: Body, code: int) -> None:
    command(body)
    assert main.run(["try"]) == code


@pytest.mark.parametrize("args", [["nope"], ["try", "--nope"], ["try", "--max-flows", "x"]])
def test_a_wrong_command_line_is_a_usage_error(
    command: Callable[[Body], None], args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda **_: None)
    assert main.run(args) == 2
    assert "Usage: kzn" in capsys.readouterr().err


def test_a_missing_package_is_named_with_the_extra_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SUBCOMMANDS, "try", Subcommand("no_such_package.thing:x", "Try.", "server"))
    assert main.run(["try"]) == 3
    assert capsys.readouterr().err == (
        "kzn: kzn try needs the Python package no_such_package, which is not installed\n"
        "hint: pip install 'kzn[server]'\n"
    )


def test_a_package_missing_while_a_command_runs_is_named_too(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(ModuleNotFoundError("No module named 'rich'", name="rich.console")))
    assert main.run(["try"]) == 3
    assert capsys.readouterr().err == (
        "kzn: kzn try needs the Python package rich, which is not installed\n"
        "hint: pip install 'kzn[demo]'\n"
    )


def test_a_module_of_kzn_missing_while_a_command_runs_is_raised(
    command: Callable[[Body], None],
) -> None:
    command(raising(ModuleNotFoundError("No module named 'kzn.x'", name="kzn.x")))
    with pytest.raises(ModuleNotFoundError):
        main.run(["try"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["probes", "doctor", "inspect-map"])
def test_without_rich_json_is_printed_and_a_table_is_refused(name: str) -> None:
    code = (
        "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None; "
        f"from kzn.cli.main import main; main(['{name}'] + sys.argv[1:])"
    )
    options = {
        "probes": [],
        "doctor": ["--no-proof"],
        "inspect-map": ["--pin-dir", "/no-such"],
    }[name]
    table, lists = (
        subprocess.run(
            [sys.executable, "-c", code, *options, *more],
            text=True,
            capture_output=True,
            check=False,
        )
        for more in ([], ["--json"])
    )
    assert table.returncode == 3
    assert f"kzn {name} needs the Python package rich" in table.stderr
    assert "Traceback" not in table.stderr + lists.stderr
    assert "rich" not in lists.stderr


def test_a_missing_module_of_kzn_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUBCOMMANDS, "try", Subcommand("kzn.nothing:x", "Try.", "server"))
    with pytest.raises(ModuleNotFoundError):
        main.run(["try"])


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_a_closed_pipe_is_silent(closed_pipe: int, tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        done = kzn("--help", stdout=closed_pipe, stderr=stderr)
    assert done.returncode in (0, 1)
    assert errors.read_text() == ""
