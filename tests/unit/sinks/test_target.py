"""URLs of sinks, and the registry that finds their plugins."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from kzn.errors import KznError, UsageError
from kzn.plugins import BrokenPlugin
from kzn.sinks.declaration import SinkPlugin
from kzn.sinks.directory import SINK
from kzn.sinks.registry import find, installed, open_sinks, parse_store, parse_targets
from kzn.sinks.target import parse_target, place_of, secret

OLD = SinkPlugin(name="old", open=SINK.open, form="old://", api=99)


def test_a_url_has_its_parts() -> None:
    found = parse_target("clickhouse://h.example:8443/k%20n?tls=yes&name=east")
    assert (found.scheme, found.host, found.port, found.path) == (
        "clickhouse",
        "h.example",
        8443,
        "/k n",
    )
    assert (found.name, found.flag("tls"), found.flag("create")) == ("east", True, False)
    found.only("tls")
    with pytest.raises(UsageError, match="unknown option 'tls'"):
        found.only("create")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dir",
        "dir:/x",
        "/x",
        "s3://b/p#x",
        "s3://b/p?x",
        "s3://b/p?a=1&a=2",
        "s3://b/p?name=",
        "s3://b/p?name=a/b",
        "s3://b/p?name=..",
        "s3://b:port/",
        "s3://[b/",
        "s3://b/\n",
        "s3://b/p?name=ä",
    ],
)
def test_what_is_not_the_url_of_a_sink_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)


@pytest.mark.parametrize("user", ["me:secret@", "me@", ":secret@"])
def test_a_password_in_a_url_is_refused_and_not_shown(user: str) -> None:
    with pytest.raises(UsageError, match="password") as error:
        parse_target(f"clickhouse://{user}h/d")
    assert "secret" not in error.value.message


def test_flags_and_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="x is not yes or no"):
        parse_target("s3://b/?x=1").flag("x")
    with pytest.raises(UsageError, match="No such file"):
        parse_target(f"s3://b/?f={tmp_path}/none").file("f")
    (tmp_path / "f").write_text("pass word\n")
    path = parse_target(f"s3://b/?f={tmp_path}/f").file("f")
    assert (secret(path), secret(None)) == ("pass word", "")
    for text in ("", "a\nb"):
        (tmp_path / "f").write_text(text)
        with pytest.raises(KznError, match="one line"):
            secret(path)


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://h/d?password=hunter2",
        "clickhouse://h/d?hunter2",
        "clickhouse://h/d?tls=hunter2",
        "clickhouse://h/d?password-file=hunter2",
        "clickhouse://h/d?user-file=hun%00ter2&password=hunter2",
        "clickhouse://h/d?a=hunter2&a=hunter2",
        "clickhouse://h/d?name=hunter2@",
        "clickhouse://h/d?a=hunter2\x07",
        "clickhouse://h/d/e?a=hunter2",
        "clickhouse://user:hunter2",
        "clickhouse://user:hunter2/x@h/d",
        "clickhouse://user:1?hunter2@h/d",
        "clickhouse:///d?a=hunter2#x",
        "h/d?hunter2",
        "s3:///x?a=hunter2",
        "s3://b?endpoint=hunter2",
        "s3://b?endpoint=https://key:hunter2@minio",
        "s3://b?endpoint=https://key:hunt/er2@minio",
        "s3://b?key-file=hunter2",
        "dir://h/d?a=hunter2",
        "kafka://h/t?a=hunter2",
    ],
)
def test_no_error_shows_the_value_of_an_option(url: str) -> None:
    for parse in (parse_store, lambda text: parse_targets([text])):
        with pytest.raises(UsageError) as error:
            parse(url)
        assert "hunt" not in f"{error.value.message} {error.value.hint}"


def test_a_place_is_where_the_data_go_and_nothing_else() -> None:
    place = parse_target("s3://b/p/?region=r&endpoint=https://h:9000/&key-file=x&name=n").place
    assert place == place_of("s3://B/p?endpoint=https://h:9000") == place_of(place)
    places = ["s3://b/p", "s3://b/q", "s3://c/p", "s3://b:1/p", "s3://b/p?endpoint=http://h"]
    assert len({place, *map(place_of, places)}) == 1 + len(places)


def test_two_sinks_of_one_name_or_place_are_an_error() -> None:
    with pytest.raises(UsageError, match="two sinks"):
        parse_targets(["dir:///a", "dir:///b"])
    with pytest.raises(UsageError, match="two sinks"):
        parse_targets(["dir:///a", "dir:///a?name=b"])
    assert [one.name for one in parse_targets(["dir:///a", "dir:///b?name=b"])] == ["dir", "b"]


def test_kzn_registers_its_own_sinks() -> None:
    assert isinstance(find("dir", installed()), SinkPlugin)


def test_a_sink_of_another_api_or_name_is_broken() -> None:
    points = [
        EntryPoint("old", f"{__name__}:OLD", "kzn.sinks"),
        EntryPoint("other", "kzn.sinks.directory:SINK", "kzn.sinks"),
        EntryPoint("missing", "kzn.sinks.nothing:SINK", "kzn.sinks"),
    ]
    found = installed(points)
    assert all(isinstance(one, BrokenPlugin) for one in found)
    with pytest.raises(UsageError, match="broken"):
        find("other", found)
    with pytest.raises(UsageError, match="unknown sink") as error:
        open_sinks([parse_target("kafka://h/t")], [SINK])
    assert error.value.hint == "installed: dir:///PATH"
