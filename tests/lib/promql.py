"""A real Prometheus on loopback, and the names of metrics in PromQL expressions."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

from manifests import DEPLOY, output_of, tool

from kzn.lab.daemons import wait_for

RULES = DEPLOY / "prometheus" / "rules.yaml"
BOARDS = sorted(DEPLOY.glob("grafana/*.json"))

_METRIC = re.compile(r"\b(?:kzn_\w+|pod_cross_zone_\w+|process_\w+)\b")
_RECORDED = re.compile(r"\b\w+:kzn_\w+:\w+\b|\bkzn:\w+:\w+\b")
_QUOTED = re.compile(r'"[^"]*"')
_VARIABLES = {
    "$__rate_interval": "5m",
    "$__range": "1h",
    "$namespace": ".*",
}


def metrics_in(expression: str) -> set[str]:
    """The names of scraped metrics in an expression."""
    bare = _RECORDED.sub(" ", _QUOTED.sub('""', expression))
    return set(_METRIC.findall(bare))


def recorded_in(expression: str) -> set[str]:
    """The names of recording rules in an expression."""
    return set(_RECORDED.findall(expression))


def exposed(text: str) -> set[str]:
    """The names of the samples that a scrape can contain, including those of histograms."""
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        names |= {name + ending for ending in endings}
    return names


def panel_queries(board: Path) -> Iterator[tuple[str, str]]:
    """Title and expression of each query of a dashboard, with its variables replaced."""
    for panel in json.loads(board.read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in _VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression, expression
            yield panel["title"], expression


class Prometheus:
    """A client of the HTTP API of a Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        """The data of a response; URLError while it starts, AssertionError with its error text."""
        try:
            with urlopen(self._url + path, timeout=30) as answer:  # noqa: S310 - our own
                return json.load(answer)["data"]
        except HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                raise URLError("not ready") from error
            raise AssertionError(f"{path}: {error.read().decode()}") from error

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result of an instant query, as of the Unix time ``at`` or now."""
        time = "" if at is None else f"&time={at:.3f}"
        data = self.get(f"/api/v1/query?query={quote(expression)}{time}")
        rows = data["result"]
        return rows if data["resultType"] == "vector" else [{"metric": {}, "value": rows}]

    def sum(self, expression: str, at: float | None = None) -> float:
        """The sum of the values of an instant query."""
        return sum(float(row["value"][1]) for row in self.query(expression, at))

    def integral(self, expression: str, begin: float, end: float, step: float) -> float:
        """The sum of the values of all series from ``begin`` to ``end``, times the step."""
        where = f"start={begin:.3f}&end={end:.3f}&step={step}"
        rows = self.get(f"/api/v1/query_range?query={quote(expression)}&{where}")["result"]
        return step * sum(float(value) for row in rows for _, value in row["values"])

    def answers(self, expression: str) -> bool:
        """Whether a query has a result; False while Prometheus starts."""
        try:
            return bool(self.query(expression))
        except URLError:
            return False


@contextmanager
def prometheus(folder: Path, scrape: str) -> Iterator[Prometheus]:
    """A Prometheus that evaluates kzn's rules every second; ``scrape`` is its scrape_configs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{RULES}]\n{scrape}"
    )
    arguments = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([tool("prometheus"), *arguments], stdout=log, stderr=log)
    try:
        server = Prometheus(port)
        assert wait_for(lambda: server.answers("vector(1)"), 30), (folder / "log").read_text()
        yield server
    finally:
        process.kill()
        process.wait()


def promtool(*arguments: str | Path) -> str:
    """The stdout of promtool; the test fails with its output if promtool reports an error."""
    return output_of(tool("promtool"), *arguments)
