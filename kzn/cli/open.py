"""``kzn open`` and ``kzn opencost``: what a server answers, on a port of this machine or pod."""

from typing import TYPE_CHECKING

import click

from kzn.cli.params import ADDRESS, log_level_option, server_options

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions
    from kzn.daemon.listen import HostPort


@click.command()
@server_options()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of 127.0.0.1 to serve the page on.  [default: a free one]",
)
@click.option("--no-browser", is_flag=True, help="Print the address alone.")
def open_page(*, server: "ServerOptions", port: int, no_browser: bool) -> None:
    """Prints the page's address and serves it until interrupted.

    Only GET, only from this machine: each request goes through the API server with the rights of
    the kubeconfig. No port-forward is needed.
    """
    import threading
    import webbrowser

    from kzn.client.relay import Relay

    client = server.client()
    client.fetch("status", lambda answer: answer)  # says what is wrong before a browser opens
    relay = Relay(client, port, report=lambda line: click.echo(f"kzn: {line}", err=True))
    click.echo(relay.url)
    if not no_browser:
        # A browser in the terminal does not return before it ends.
        threading.Thread(target=webbrowser.open, args=(relay.url,), daemon=True).start()
    relay.run()


@click.command()
@server_options()
@click.option(
    "--listen-http",
    type=ADDRESS,
    default=":3001",
    show_default=True,
    help="Address that serves /metrics to OpenCost, and /healthz.",
)
@log_level_option
def opencost(*, server: "ServerOptions", listen_http: "HostPort", log_level: str) -> None:
    """It serves the counters of kzn server --opencost on the port that OpenCost's collector mode
    scrapes, in a pod with the labels that it looks for (deploy/components/opencost-collector).
    """
    import asyncio

    from kzn.client.opencost import OpenCostExporter
    from kzn.daemon import logs
    from kzn.daemon.listen import listen
    from kzn.daemon.signals import shutdown_on_signals

    logs.set_up(log_level)
    client, sockets = server.client(), listen(listen_http)

    async def serve() -> None:
        with shutdown_on_signals() as shutdown:
            await OpenCostExporter(client).run(sockets, shutdown.asked)

    asyncio.run(serve())
