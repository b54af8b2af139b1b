"""A current ClickHouse engine (chdb) behind the part of its HTTP interface that kzn uses.

Run as a program: ``chdb_shim.py FOLDER``; it prints its port. What differs from a server: the body
of an insert is read by file(), there is one user (``kzn``, password ``pass``) and one database.
"""

import re
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from chdb.session import Session

FOLDER = Path(sys.argv[1])
SESSION = Session(str(FOLDER / "engine"))
NOT_SETTINGS = ("query", "database", "wait_end_of_query")


class Handler(BaseHTTPRequestHandler):
    """Answers POST."""

    def do_POST(self) -> None:
        """Run the statement."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        parameters = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
        user = self.headers.get("x-clickhouse-user"), self.headers.get("x-clickhouse-key")
        if user != ("kzn", "pass"):
            self.reply(403, b"Code: 516. DB::Exception: Authentication failed")
            return
        try:
            answer = self.run(parameters, body)
        except Exception as error:  # noqa: BLE001 - any error of the engine
            self.reply(500, str(error).encode())
        else:
            self.reply(200, answer)

    def run(self, parameters: dict[str, str], body: bytes) -> bytes:
        """The engine's answer."""
        sql = parameters.get("query") or body.decode()
        settings = {k: v for k, v in parameters.items() if k not in NOT_SETTINGS}
        tail = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        tail = f" SETTINGS {tail}" if tail else ""
        found = re.fullmatch(r"(.*?) FORMAT (\w+)", sql, re.DOTALL)
        if found and sql.startswith("INSERT"):
            with tempfile.NamedTemporaryFile(dir=FOLDER, suffix=".parquet") as file:
                file.write(body)
                file.flush()
                names = found[1][found[1].index("(") + 1 : -1]
                schema = ", ".join(f"{name} {kind(name)}" for name in names.split(", "))
                source = f"file('{file.name}', Parquet, '{schema}')"
                insert = f"{found[1]}{tail} SELECT {names} FROM {source}"  # noqa: S608 - kzn's own
                return bytes(SESSION.query(insert).bytes())
        statement, form = (found[1], found[2]) if found else (sql, "TabSeparated")
        return in_order(bytes(SESSION.query(statement + tail, form).bytes()))

    def reply(self, status: int, text: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def in_order(text: bytes) -> bytes:
    """An answer as a server writes it: chdb puts the totals of no rows before all the rest."""
    totals, brace, rest = text.partition(b"{")
    if b'"totals"' not in totals:
        return text
    return brace + rest.replace(b'"data":\n\t[\n', b'"data":\n\t[\n' + totals, 1)


def kind(name: str) -> str:
    """The type of a column in a file."""
    numbers = {"time": "DateTime64(6)", "port": "UInt16", "packets": "UInt64", "bytes": "UInt64"}
    return numbers.get(name.strip('"'), "String")


SERVER = HTTPServer(("127.0.0.1", 0), Handler)
print(SERVER.server_port, flush=True)  # noqa: T201 - the test reads it
SERVER.serve_forever()
