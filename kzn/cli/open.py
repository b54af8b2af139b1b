"""``kzn open``: the page of a server in a cluster, on a port of this machine."""

from typing import TYPE_CHECKING

import click

from kzn.cli.params import server_options

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions


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
