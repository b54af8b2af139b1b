"""Runs packets through a loaded program by BPF_PROG_TEST_RUN and returns nanoseconds."""

import os
import struct
import subprocess
import tempfile
from pathlib import Path

from kzn.libbpf.testrun import run_netfilter, run_tc
from kzn.model import ip

BPF = Path(__file__).parents[2] / "bpf"
ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}
NF_ACCEPT = 1
TC_ACT_UNSPEC = 0xFFFFFFFF
SYN, ACK = 0x02, 0x10
PORT_VXLAN = 4789


def compile_object(source: Path) -> bytes:
    """The object of a C file of the bench, built with the compiler of bpf/Makefile."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.o")
        flags = ["-target", "bpfel", "-mcpu=v3", "-g", "-O2", "-std=gnu11", f"-I{BPF / 'src'}"]
        clang = os.environ.get("CLANG", "clang-19")
        subprocess.run([clang, *flags, "-c", source, "-o", out], check=True)
        return out.read_bytes()


def tcp_packet(
    family: int,
    src: str,
    dst: str,
    source: int,
    dest: int,
    payload: int = 1000,
    flags: int = ACK,
) -> bytes:
    """An Ethernet frame with a TCP segment."""
    tcp = struct.pack("!HHIIBBHHH", source, dest, 1, 1, 5 << 4, flags, 500, 0, 0) + bytes(payload)
    here, there = ip.pack(src), ip.pack(dst)
    if family == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0)
        return ETHERNET[4] + head + here[12:] + there[12:] + tcp
    return ETHERNET[6] + struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + here + there + tcp


def vxlan_packet(inside: bytes) -> bytes:
    """An Ethernet frame from node to node with another frame in VXLAN."""
    udp = struct.pack("!HHHH", 50_000, PORT_VXLAN, 16 + len(inside), 0)
    payload = udp + b"\x08" + bytes(7) + inside
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, 17, 0)
    nodes = ip.pack("10.0.0.1")[12:] + ip.pack("10.0.0.2")[12:]
    return ETHERNET[4] + head + nodes + payload


def run(program: int, frame: bytes, repeat: int, family: int = 4) -> int:
    """Mean nanoseconds of ``repeat`` runs at POSTROUTING."""
    verdict, nanoseconds = run_netfilter(program, frame, family=family, repeat=repeat)
    return _accepted(verdict, NF_ACCEPT, nanoseconds)


def run_at_tc(program: int, frame: bytes, repeat: int) -> int:
    """Mean nanoseconds of ``repeat`` runs at tc."""
    verdict, nanoseconds = run_tc(program, frame, repeat=repeat)
    return _accepted(verdict, TC_ACT_UNSPEC, nanoseconds)


def _accepted(verdict: int, wanted: int, nanoseconds: int) -> int:
    if verdict != wanted:
        raise AssertionError(f"verdict {verdict}, not {wanted}")
    return nanoseconds
