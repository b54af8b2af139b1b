"""Generates _libbpf.py from decl.h (cffi, out-of-line ABI mode), so the wheel stays pure Python.

``python -m kzn.libbpf.build`` writes the file; ``--check`` fails when it is out of date.
"""

import sys
import tempfile
from pathlib import Path

import cffi

HERE = Path(__file__).parent


def generate() -> str:
    """The text of _libbpf.py."""
    builder = cffi.FFI()
    declarations = (HERE / "decl.h").read_text()
    builder.set_source("kzn.libbpf._libbpf", None)
    builder.cdef(declarations)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "_libbpf.py")
        builder.emit_python_code(str(path))
        return path.read_text()


def main() -> int:
    """Write the module, or compare it with the file."""
    target, text = HERE / "_libbpf.py", generate()
    if "--check" not in sys.argv[1:]:
        target.write_text(text)
        return 0
    if target.read_text() == text:
        return 0
    sys.stderr.write(f"{target.name} is out of date: run python -m kzn.libbpf.build\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
