"""What an object consists of, before anything of it is in the kernel: programs, maps, constants.

An object that others built is looked at by a child process: libbpf 1.1 trusts BTF, and a damaged
one makes it read where nothing is (one changed byte in a hundred, tried). The child is this
module: the object's bytes on stdin, `ObjectLayout` as JSON on stdout, and limits on what it takes.
"""

import json
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any, Self

from kzn.errors import KznError
from kzn.libbpf.btf import Field
from kzn.libbpf.library import ffi, libbpf, version
from kzn.libbpf.objects import BpfObject

MAX_IMAGE = 8 << 20
MEMORY = 1 << 30
"""Address space of the child: Python, libbpf and the object take a tenth."""
SECONDS = 20

DAMAGED = "the file is damaged: install the probe's package again, or build it again"


@dataclass(frozen=True, slots=True)
class MapLayout:
    """A map as the object declares it; ``inner`` is what a map of maps holds."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    key: tuple[Field, ...]
    value: tuple[Field, ...]
    inner: "MapLayout | None"

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """From the dictionary that it was made into."""
        fields = {name: tuple(Field(*row) for row in found[name]) for name in ("key", "value")}
        inner = found["inner"] and cls.of(found["inner"])
        return cls(**found | fields | {"inner": inner})


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """An object: its programs, its maps, one of its constants and one of its enums."""

    programs: tuple[str, ...]
    maps: dict[str, MapLayout]
    constant: tuple[Field, ...]
    initial: str
    """What the constant holds, in hexadecimal digits."""
    enum: dict[str, int]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """From the dictionary that it was made into."""
        maps = {name: MapLayout.of(shape) for name, shape in found["maps"].items()}
        constant = tuple(Field(*row) for row in found["constant"])
        programs = tuple(found["programs"])
        return cls(**found | {"maps": maps, "constant": constant, "programs": programs})


def layout_of(opened: BpfObject, constant: str, enum: str) -> ObjectLayout:
    """The shape of an object that is open; KznError for BTF that makes no sense.

    Maps that kzn knows nothing of are in it too; those of sections of data are not.
    """
    btf = opened.btf()
    maps = {n: p for n, p in opened.map_pointers().items() if "." not in n}
    return ObjectLayout(
        programs=tuple(opened.programs()),
        maps={name: _map_shape(opened, pointer) for name, pointer in maps.items()},
        constant=btf.fields(opened.constant_type(constant)),
        initial=opened.constant(constant).hex(),
        enum=btf.constants(enum),
    )


def look(image: bytes, name: str, constant: str, enum: str) -> ObjectLayout:
    """The same by a child process, of an object that nobody vouches for; KznError if it is none."""
    if len(image) > MAX_IMAGE:
        raise KznError(
            f"object {name} has {len(image)} bytes, kzn takes {MAX_IMAGE} at most",
            hint="is it a BPF object, and stripped with llvm-strip -g?",
        )
    command = [sys.executable, "-P", "-m", "kzn.libbpf.object_layout", name, constant, enum]
    try:
        done = subprocess.run(
            command, input=image, capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KznError(f"look at object {name}: {error}", hint=DAMAGED) from error
    if done.returncode != 0:
        raise _died(name, done)
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise KznError(answer["error"], hint=answer["hint"])
    return ObjectLayout.of(answer)


def _died(name: str, done: "subprocess.CompletedProcess[bytes]") -> KznError:
    words = done.stderr.decode(errors="replace").strip().splitlines() or ["without a word"]
    how = words[-1]
    if done.returncode < 0:
        how = f"libbpf {version()} ended by {signal.Signals(-done.returncode).name}"
    return KznError(
        f"open object {name}: it cannot be read: {how}",
        hint=DAMAGED,
    )


def _map_shape(opened: BpfObject, pointer: Any) -> MapLayout:
    ask = libbpf()
    inner = ask.bpf_map__inner_map(pointer)
    return MapLayout(
        kind=int(ask.bpf_map__type(pointer)),
        key_size=int(ask.bpf_map__key_size(pointer)),
        value_size=int(ask.bpf_map__value_size(pointer)),
        max_entries=int(ask.bpf_map__max_entries(pointer)),
        flags=int(ask.bpf_map__map_flags(pointer)),
        key=_fields(opened, ask.bpf_map__btf_key_type_id(pointer)),
        value=_fields(opened, ask.bpf_map__btf_value_type_id(pointer)),
        inner=None if inner == ffi.NULL else _map_shape(opened, inner),
    )


def _fields(opened: BpfObject, number: int) -> tuple[Field, ...]:
    """None for a map that is declared by sizes alone."""
    return opened.btf().fields(number) if number else ()


def _main() -> None:
    """The child: what is wrong with the object is an answer too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    name, constant, enum = sys.argv[1:]
    answer: dict[str, Any]
    try:
        with BpfObject(sys.stdin.buffer.read(MAX_IMAGE), name) as opened:
            answer = asdict(layout_of(opened, constant, enum))
    except KznError as error:
        answer = {"error": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
