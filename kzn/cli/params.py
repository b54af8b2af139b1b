"""Option types (durations, addresses, files, log levels) and options that commands share."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from kzn.agent.config import PIN_DIR
from kzn.daemon.listen import HostPort, parse_host_port
from kzn.daemon.logs import LEVELS
from kzn.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
_PIECE = re.compile(r"([0-9.]+)(ms|s|m|h|d)")
_LABEL = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"\*|(\*\.)?{_LABEL}(\.{_LABEL})*\.?", re.IGNORECASE | re.ASCII)
_F = TypeVar("_F", bound=Callable[..., Any])

if TYPE_CHECKING:
    _FloatType = click.ParamType[float]
    _AddressType = click.ParamType[HostPort]
    _LimitType = click.ParamType[tuple[str, int]]
    _NameType = click.ParamType[str]
else:  # not generic in click 8.1
    _FloatType = _AddressType = _LimitType = _NameType = click.ParamType


class Duration(_FloatType):
    """``10s``, ``500ms``, ``1m30s`` as seconds; must be positive."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; click's usage error if ``value`` is not a positive duration."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip()
        if not _DURATION.fullmatch(text):
            self.fail(f"{text!r} is not a duration; write 10s, 500ms or 1m30s", param, ctx)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))
        if seconds <= 0:
            self.fail(f"duration must be positive, not {text!r}", param, ctx)
        return seconds


class AddressType(_AddressType):
    """HOST:PORT or [IPv6]:PORT; :PORT listens on all addresses."""

    name = "address"

    def __init__(self, *, remote: bool = False) -> None:
        self._remote = remote

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> HostPort:
        """The address; click's usage error if it is not one, or lacks what a remote one needs."""
        if isinstance(value, HostPort):
            return value
        try:
            address = parse_host_port(str(value))
        except UsageError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)
        if self._remote and not (address.host and address.port):
            self.fail(f"{str(value)!r} has no host or no port; write HOST:PORT", param, ctx)
        return address


class DurationOrOff(Duration):
    """A duration, or ``off`` as 0."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds, 0 for ``off``; click's usage error for anything else."""
        return 0.0 if value == "off" else super().convert(value, param, ctx)


class SeriesLimit(_LimitType):
    """``FAMILY=N``, as a tuple of both."""

    name = "limit"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Family and number; click's usage error for anything else."""
        if isinstance(value, tuple):
            return value
        family, _, number = str(value).partition("=")
        if not family or not (number.isascii() and number.isdigit()) or len(number) > 9:
            self.fail(f"{str(value)!r} is not a limit; write FAMILY=N, as pod=50000", param, ctx)
        return family, int(number)


class HostName(_NameType):
    """A host name, ``*.NAME`` or ``*``."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The name; click's usage error for anything else, as a URL or a name with a port."""
        text = str(value).strip()
        if not _HOST.fullmatch(text):
            why = f"{text!r} is not a host name; write NAME without scheme and port, *.NAME or *"
            self.fail(why, param, ctx)
        return text


DURATION = Duration()
SERIES_LIMITS = SeriesLimit()
HOST_NAME = HostName()
DURATION_OR_OFF = DurationOrOff()
ADDRESS = AddressType()
"""An address to listen on."""
REMOTE_ADDRESS = AddressType(remote=True)
"""An address to connect to: host and port are required."""
FILE = click.Path(path_type=Path, dir_okay=False)
"""A file that the command reads. The reader reports one that it cannot read."""
LOG_LEVEL = click.Choice(LEVELS, case_sensitive=False)

log_level_option = click.option(
    "--log-level",
    type=LOG_LEVEL,
    default="info",
    show_default=True,
    help="Least severity of the log lines on stderr.",
)
http_host_option = click.option(
    "--http-host",
    "http_hosts",
    type=HOST_NAME,
    multiple=True,
    metavar="NAME",
    help="Name by which HTTP clients call this daemon, besides IP addresses, localhost, *.svc and"
    " names without a dot; *.NAME for all below it, * for any. May be repeated.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table."
)
pin_dir_option = click.option(
    "--pin-dir",
    type=click.Path(path_type=Path, readable=False),
    default=PIN_DIR,
    show_default=True,
    help="Directory on a bpf file system where the agent pins its links and maps.",
)


_URL_TOKEN = click.option(
    "--token-file",
    type=FILE,
    envvar="KZN_HTTP_TOKEN_FILE",  # KZN_TOKEN_FILE is the token of an agent, for another audience
    help="Token of Kubernetes to send, for a server with --http-auth kubernetes.",
)
_URL_CA = click.option(
    "--tls-ca",
    type=FILE,
    envvar="KZN_HTTP_TLS_CA",
    help="CA certificates to verify an https URL by.  [default: those of the system]",
)


def url_option(default: str | None, text: str, *, multiple: bool = False) -> Callable[[_F], _F]:
    """``--url``, the HTTP address of a server, with ``--token-file`` and ``--tls-ca`` for it.

    ``multiple``: it may be repeated, and the value is a tuple. ``--server`` in its place is refused
    with a hint.
    """

    def add(command: _F) -> _F:
        command = click.option(
            "--server",
            hidden=True,
            expose_value=False,
            callback=_refuse_server,
            allow_from_autoenv=False,
        )(command)
        for option in (_URL_CA, _URL_TOKEN):
            command = option(command)
        return click.option(
            "--url",
            metavar="URL",
            default=(default,) if multiple and default else default,
            multiple=multiple,
            show_default=True,
            help=text,
        )(command)

    return add


def server_options(
    *, multiple: bool = False, service_option: str = "--service"
) -> Callable[[_F], _F]:
    """``--url`` and what finds a server without it, as one argument ``server``: ServerOptions.

    ``multiple``: ``--url`` may be repeated. ``service_option`` names the server's Service, for
    commands whose ``--service`` is another.
    """
    from kzn.client.find import LOCAL, ServerOptions
    from kzn.client.service_proxy import NAMESPACE, SERVICE, ServicePlace

    def add(command: _F) -> _F:
        @functools.wraps(command)
        def with_server(
            *,
            url: str | tuple[str, ...] | None,
            token_file: Path | None,
            tls_ca: Path | None,
            kubeconfig: str,
            context: str,
            namespace: str,
            service: str,
            **others: Any,
        ) -> Any:
            urls = (url,) if isinstance(url, str) else url or ()
            place = ServicePlace(kubeconfig, context, namespace, service)
            return command(server=ServerOptions(urls, token_file, tls_ca, place), **others)

        text = (
            "HTTP address of kzn server. Without it the server is found by the kubeconfig, through"
            f" the API server; without a kubeconfig it is {LOCAL}."
        )
        if multiple:
            text += " If repeated, the servers are added up."
        for option in (
            click.option(
                "--namespace",
                "-n",
                default=NAMESPACE,
                show_default=True,
                envvar="KZN_SERVER_NAMESPACE",
                help="Namespace of the server's Service.",
            ),
            click.option(
                service_option,
                "service",
                default=SERVICE,
                show_default=True,
                envvar="KZN_SERVER_SERVICE",
                help="Name of the Service; https:NAME for a server with TLS.",
            ),
            click.option(
                "--context",
                default="",
                allow_from_autoenv=False,
                help="Context of the kubeconfig.  [default: the current one]",
            ),
            click.option(
                "--kubeconfig",
                default="",
                allow_from_autoenv=False,
                help="File to find the cluster by.  [default: KUBECONFIG, ~/.kube/config]",
            ),
        ):
            with_server = option(with_server)
        return url_option(None, text, multiple=multiple)(cast("_F", with_server))

    return add


def _refuse_server(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            "No such option '--server': it is where kzn agent sends batches. "
            "Did you mean --url http://HOST:8080?"
        )
