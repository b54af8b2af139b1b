"""The flow log: its lines to the letter, and a stream that blocks or fails."""

import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from cluster import cluster, flows_between, index_of, sent_by, tunnelled

from kzn.errors import UsageError
from kzn.model.endpoint import UNKNOWN
from kzn.model.flows import ENCRYPTED, INITIATOR_SOURCE, Flows
from kzn.model.ip import pack
from kzn.server.config import log_classes
from kzn.server.flows.lines import Form, LineWriter
from kzn.server.flows.queue import LOGGED_CLASSES, FlowLog, LogCounts, verdicts_of
from kzn.server.flows.records import FlowRecords
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.retry import ObservedFlows, select
from kzn.topology.index import AddressIndex

CLUSTER = cluster(
    nodes="n1 a r\nn2 b r",
    pods="shop/web-1 n1 10.1.0.1 Deployment/web",
    networks="orders_=_db Database 2001:db8::/64 b r",
)
WEB, DB, OUT, UNOWNED = "10.1.0.1", "2001:db8::7", "8.8.8.8", "10.200.0.1"
DEADLINE = 10.0

TEXT = """\
2033-05-18T03:33:20Z node=n1 src=10.1.0.1 src_kind=Pod src_namespace=shop src_name=web-1 \
src_workload_kind=Deployment src_workload=web src_zone=a dst=2001:db8::7 dst_kind=Static \
dst_name="orders = db" dst_workload_kind=Database dst_workload="orders = db" dst_zone=b \
protocol=tcp src_port=0 dst_port=5432 initiator=source packets=12 bytes=3400 class=cross_zone
2033-05-18T03:33:20Z node=n1 src=10.1.0.1 src_kind=Pod src_namespace=shop src_name=web-1 \
src_workload_kind=Deployment src_workload=web src_zone=a dst=10.200.0.1 dst_kind=Unknown \
protocol=132 src_port=0 dst_port=0 initiator=unknown packets=1 bytes=40 \
class=unresolved reason=unknown_destination
""".replace("2033-05-18T03:33:20Z", "time=2033-05-18T03:33:20Z").replace("=132", "=sctp")


@pytest.fixture(scope="module")
def index() -> AddressIndex:
    return index_of(CLUSTER)


def resolved(index: AddressIndex) -> tuple[ObservedFlows, Resolution]:
    addresses = [WEB, DB, OUT, UNOWNED]
    flows = Flows(
        addresses=np.frombuffer(b"".join(map(pack, addresses)), np.uint8).reshape(-1, 16),
        src=np.array([2, 0, 0], np.uint32),
        dst=np.array([0, 1, 3], np.uint32),
        src_port=np.zeros(3, np.uint16),
        dst_port=np.array([80, 5432, 0], np.uint16),
        protocol=np.array([6, 6, 132], np.uint8),
        flags=np.array([0, INITIATOR_SOURCE, 0], np.uint8),
        packets=np.array([7, 12, 1], np.uint64),
        bytes=np.array([700, 3400, 40], np.uint64),
    )
    observed = ObservedFlows("n1", flows, 90.0, 100.0, 10.0, 0)
    return observed, resolve(flows, "n1", index, 90.0, 100.0)


def log_of(stream: io.BytesIO, form: str, max_lines: int = 100) -> FlowLog:
    assert form in ("text", "json")
    return FlowLog(
        stream,
        "text" if form == "text" else "json",
        epoch_of=lambda now: 2_000_000_000.0 + now - 100.0,
        max_lines=max_lines,
    )


def offer(log: FlowLog, index: AddressIndex, *rows: int) -> None:
    observed, resolution = resolved(index)
    log.offer(observed, resolution, np.array(rows, np.int64), index)


def test_text_lines_to_the_letter(index: AddressIndex) -> None:
    stream = io.BytesIO()
    log = log_of(stream, "text")
    offer(log, index, 1, 2)
    assert log.close(DEADLINE)
    assert stream.getvalue().decode() == TEXT
    assert log.counts == LogCounts(written=2, dropped=0)


def test_json_lines_always_have_all_keys(index: AddressIndex) -> None:
    stream = io.BytesIO()
    log = log_of(stream, "json")
    offer(log, index, 0, 1, 2)
    assert log.close(DEADLINE)
    outside, first, second = map(json.loads, stream.getvalue().decode().splitlines())
    assert first == {
        "time": "2033-05-18T03:33:20Z",
        "node": "n1",
        "src": WEB,
        "src_kind": "Pod",
        "src_namespace": "shop",
        "src_name": "web-1",
        "src_workload_kind": "Deployment",
        "src_workload": "web",
        "src_zone": "a",
        "src_group": "",
        "dst": DB,
        "dst_kind": "Static",
        "dst_namespace": "",
        "dst_name": "orders = db",
        "dst_workload_kind": "Database",
        "dst_workload": "orders = db",
        "dst_zone": "b",
        "dst_group": "",
        "via": "",
        "protocol": "tcp",
        "src_port": 0,
        "dst_port": 5432,
        "initiator": "source",
        "encrypted": "",
        "packets": 12,
        "bytes": 3400,
        "class": "cross_zone",
        "reason": "",
    }
    assert [*second] == [*outside] == [*first]
    assert (outside["src_kind"], outside["class"]) == ("External", "external")
    assert (second["class"], second["reason"]) == ("unresolved", "unknown_destination")


def test_a_flow_of_a_pod_that_its_source_does_not_tell_has_the_pod_as_owner(
    index: AddressIndex,
) -> None:
    flows = sent_by(flows_between((OUT, DB), (OUT, DB)), WEB, "")
    observed = ObservedFlows("n1", flows, 90.0, 100.0, 10.0, 0)
    stream = io.BytesIO()
    log = log_of(stream, "json")
    log.offer(observed, resolve(flows, "n1", index, 90.0, 100.0), np.arange(2), index)
    assert log.close(DEADLINE)
    sent, plain = map(json.loads, stream.getvalue().decode().splitlines())
    assert (sent["src"], sent["src_name"], sent["class"]) == (OUT, "web-1", "cross_zone")
    assert plain["src_name"] != "web-1"


def test_a_flow_that_a_tunnel_carries_elsewhere_has_the_owner_of_the_outer_destination(
    index: AddressIndex,
) -> None:
    flows = tunnelled(flows_between((WEB, OUT), (WEB, OUT)), "10.0.0.2", "")
    observed = ObservedFlows("n1", flows, 90.0, 100.0, 10.0, 0)
    stream = io.BytesIO()
    log = log_of(stream, "json")
    found = resolve(flows, "n1", index, 90.0, 100.0)
    log.offer(observed, found, np.arange(2), index)
    assert log.close(DEADLINE)
    tunnel, plain = map(json.loads, stream.getvalue().decode().splitlines())
    assert [*tunnel] == [*plain]
    assert (tunnel["dst"], tunnel["dst_kind"], tunnel["dst_name"]) == (OUT, "Node", "n2")
    assert (tunnel["dst_zone"], tunnel["via"], tunnel["class"]) == ("b", "10.0.0.2", "cross_zone")
    assert (plain["dst_kind"], plain["via"], plain["class"]) == ("External", "", "external")


def test_encrypted_flows_are_marked(index: AddressIndex) -> None:
    stream = io.BytesIO()
    log = log_of(stream, "text")
    observed, resolution = resolved(index)
    observed.flows.flags[1] |= ENCRYPTED
    log.offer(observed, resolution, np.array([1, 2]), index)
    assert log.close(DEADLINE)
    before, after = "initiator=source packets", "initiator=source encrypted=yes packets"
    assert stream.getvalue().decode() == TEXT.replace(before, after)


def test_without_flows_there_are_no_lines(index: AddressIndex) -> None:
    stream = io.BytesIO()
    log = log_of(stream, "text")
    offer(log, index)
    assert log.close(DEADLINE)
    assert stream.getvalue() == b""


class Blocked(io.BytesIO):
    """A stream that blocks until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def write(self, data: object, /) -> int:
        self.entered.set()
        assert self.released.wait(DEADLINE)
        return super().write(data)  # type: ignore[arg-type] # what the base class takes


def test_a_blocked_stream_drops_lines_beyond_the_limit_and_blocks_no_caller(
    index: AddressIndex,
) -> None:
    stream = Blocked()
    log = log_of(stream, "text", max_lines=3)
    offer(log, index, 1, 2)
    assert stream.entered.wait(DEADLINE)
    offer(log, index, 1)
    offer(log, index, 1, 2)
    assert log.counts == LogCounts(written=0, dropped=2)
    assert not log.close(0.0)
    stream.released.set()
    assert log.close(DEADLINE)
    assert log.counts == LogCounts(written=3, dropped=2)


class Broken(io.BytesIO):
    """A stream without a reader."""

    def write(self, _data: object, /) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_failed_stream_drops_all_further_lines_and_logs_once(
    index: AddressIndex, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_of(Broken(), "text")
    offer(log, index, 1, 2)
    assert log.close(DEADLINE)
    offer(log, index, 1)
    assert log.counts == LogCounts(written=0, dropped=3)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "flow log: write failed: [Errno 32] Broken pipe" in message


def test_texts_that_were_evicted_or_have_a_new_owner_are_made_again(index: AddressIndex) -> None:
    observed, resolution = resolved(index)
    rows = resolution.endpoints.tolist()
    owners = [index.endpoint(i) if i >= 0 else i for i in (rows[0], rows[1], rows[3], rows[-1])]
    records = FlowRecords(
        closed=2_000_000_000.0,
        node="n1",
        flows=select(observed.flows, np.array([1, 2]))[1],
        owners=owners,
        forwarded=np.zeros(0, np.int64),
        rerouted=np.zeros(0, np.int64),
        sent=np.zeros(0, np.int64),
        verdict=resolution.verdict[1:],
    )
    small, fresh = LineWriter("text", cached_addresses=1), LineWriter("text")
    assert small.lines(records) == small.lines(records) == fresh.lines(records) == TEXT.encode()
    unowned = replace(records, owners=[UNKNOWN] * len(owners))
    assert small.lines(unowned) == LineWriter("text").lines(unowned)
    assert b"kind=Unknown" in fresh.lines(unowned)


def test_only_lines_of_the_chosen_classes_are_written(index: AddressIndex) -> None:
    observed, resolution = resolved(index)
    for classes, expected in (
        ({"cross_zone", "cross_region"}, ["class=cross_zone"]),
        ({"unresolved"}, ["reason=unknown_destination"]),
        ({"external"}, ["class=external"]),
        ({"same_zone"}, []),
        (set(LOGGED_CLASSES), ["class=external", "class=cross_zone", "reason=unknown_destination"]),
    ):
        stream = io.BytesIO()
        log = FlowLog(stream, "text", epoch_of=lambda now: now, logged=verdicts_of(classes))
        log.offer(observed, resolution, np.arange(3), index)
        assert log.close(DEADLINE)
        lines = stream.getvalue().decode().splitlines()
        assert [line.rpartition(" ")[2] for line in lines] == expected
        assert log.counts == LogCounts(written=len(expected))


def test_many_lines_are_written_in_pieces_of_whole_lines(index: AddressIndex) -> None:
    many = 1_300
    rows = [(WEB, DB, 1000 + number, 1 + number % 7) for number in range(many)]
    flows = flows_between(*rows)
    observed = ObservedFlows("n1", flows, 90.0, 100.0, 10.0, 0)
    resolution = resolve(flows, "n1", index, 90.0, 100.0)
    records = FlowRecords.of(observed, resolution, np.arange(many), index, closed=2e9)
    forms: tuple[Form, ...] = ("text", "json")
    for form in forms:
        pieces = list(LineWriter(form).pieces(records))
        assert len(pieces) > 1
        assert all(piece.endswith(b"\n") for piece in pieces)
        lines = b"".join(pieces).decode().splitlines()
        assert len(lines) == many
        one_by_one = [
            LineWriter(form)
            .lines(FlowRecords.of(observed, resolution, np.array([n]), index, closed=2e9))
            .decode()
            .rstrip("\n")
            for n in (0, 511, 512, 1023, 1024, many - 1)
        ]
        assert [lines[n] for n in (0, 511, 512, 1023, 1024, many - 1)] == one_by_one


def test_classes_are_words_between_commas() -> None:
    assert log_classes("cross_zone, unresolved") == ("cross_zone", "unresolved")
    assert log_classes("all") == LOGGED_CLASSES
    for wrong in ("", " , ", "cross-zone", "cross_zone,transit"):
        with pytest.raises(UsageError, match="class"):
            log_classes(wrong)


def test_a_line_names_the_group_of_both_ends() -> None:
    topology = """
nodes:
  - {name: n1, zone: a, region: r}
pods:
  - {namespace: shop, name: web-1, node: n1, addresses: [10.1.0.1], workload: web, group: blue}
  - {namespace: shop, name: web-2, node: n1, addresses: [10.1.0.2], workload: db, group: 'a b'}
"""
    grouped = index_of(topology)
    flows = flows_between((WEB, "10.1.0.2", 40))
    observed = ObservedFlows("n1", flows, 90.0, 100.0, 10.0, 0)
    resolution = resolve(flows, "n1", grouped, 90.0, 100.0)
    for form, expected in (
        ("text", b"src_zone=a src_group=blue dst=10.1.0.2 "),
        ("text", b'dst_zone=a dst_group="a b" protocol='),
        ("json", b'"dst_zone":"a","dst_group":"a b","via":'),
    ):
        stream = io.BytesIO()
        log = log_of(stream, form)
        log.offer(observed, resolution, np.array([0], np.int64), grouped)
        assert log.close(DEADLINE)
        assert expected in stream.getvalue()
