# ruff: noqa: E501  one case a line
"""Hostile arrays and tables of numbers: .npy, .npz and .csv of a motion sensor."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable

import numpy as np

from tests.chaos.hostile.meshes import READ, REFUSED, Cases, npy, text

_SIGNAL = np.ones((6, 2000), np.float32)


def header(description: str, version: bytes = b"\1\0", body: bytes = b"") -> Callable[[], bytes]:
    """A .npy whose header is any text."""
    content = description.encode() + b"\n"
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(content))
    return lambda: b"\x93NUMPY" + version + size + content + body


def zipped(**members: bytes) -> Callable[[], bytes]:
    def made() -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "/"), content)
        return file.getvalue()

    return made


def shaped(shape: str, kind: str = "<f4") -> Callable[[], bytes]:
    return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")


class _Harm:
    def __reduce__(self) -> tuple:
        return print, ("harm",)


def objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([_Harm()], object), allow_pickle=True)
    return file.getvalue()


ARRAYS: Cases = {
    "negative-shape.npy": (REFUSED, shaped("(-6, 2000)")),
    "endless-shape.npy": (REFUSED, shaped("(" + "9," * 5000 + ")")),
    "shape-of-words.npy": (REFUSED, shaped("('6', 2000)")),
    "shape-of-halves.npy": (REFUSED, shaped("(6.5, 2000)")),
    "shape-beyond-64-bit.npy": (REFUSED, shaped(f"({2**70},)")),
    "shape-of-truth.npy": (REFUSED, shaped("(True, 2000)")),
    "type-of-no-kind.npy": (REFUSED, shaped("(6, 2000)", "<q9")),
    "type-of-objects.npy": (REFUSED, shaped("(6, 2000)", "|O")),
    "type-of-much.npy": (REFUSED, shaped("(6, 2000)", "|V1000000000")),
    "nested-type.npy": (REFUSED, header("{'descr': [('a', [('b', '|O')])], 'fortran_order': False, 'shape': (1,), }")),
    "another-version.npy": (REFUSED, header("{}", b"\x09\0")),
    "header-of-calls.npy": (REFUSED, header("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,), }")),
    "header-of-powers.npy": (REFUSED, header("{'descr': '<f4', 'fortran_order': False, 'shape': (9**9**9,), }")),
    "long-header.npy": (REFUSED, header("{'descr': '<f4', 'x': '" + "y" * 60_000 + "'}")),
    "no-header.npy": (REFUSED, lambda: b"\x93NUMPY\1\0"),
    "pickle.npy": (REFUSED, objects),
    "pickle-alone.npy": (REFUSED, lambda: pickle.dumps(_Harm())),
    "cut.npy": (REFUSED, lambda: npy(_SIGNAL)[:-1]),
    "nan.npy": (REFUSED, lambda: npy(_SIGNAL * np.nan)),
    "turned.npy": (REFUSED, lambda: npy(_SIGNAL.T)),
    "five-axes.npy": (REFUSED, lambda: npy(_SIGNAL[:, :, None, None, None])),
    "none.npy": (REFUSED, lambda: npy(np.zeros((6, 0), np.float32))),
    "other-end-first.npy": (READ, lambda: npy(_SIGNAL.astype(">f4"))),
    "pickle.npz": (REFUSED, zipped(**{"a.npy": objects()})),
    "above.npz": (READ, zipped(**{"..__..__owned.npy": npy(_SIGNAL)})),
    "no-array.npz": (REFUSED, zipped(**{"a.txt": b"words"})),
    "two-arrays.npz": (REFUSED, zipped(**{"a.npy": npy(_SIGNAL), "b.npy": npy(_SIGNAL)})),
    "many-members.npz": (REFUSED, zipped(**{f"a{n}.npy": b"" for n in range(2000)})),
    "bomb.npz": (REFUSED, zipped(**{"a.npy": npy(np.zeros((6, 2**26), np.float32))[: 2**20] + bytes(2**28)})),
    "cut.npz": (REFUSED, lambda: zipped(**{"a.npy": npy(_SIGNAL)})()[:-30]),
    "noise.npz": (REFUSED, lambda: b"PK\3\4" + bytes(range(256)) * 4),
    "words.csv": (REFUSED, text("a,b,c,d,e,f\n" + "x,y,z,x,y,z\n" * 2000)),
    "uneven.csv": (REFUSED, text("1,2,3,4,5,6\n1,2\n" * 2000)),
    "formula.csv": (REFUSED, text("=cmd|'/c calc'!A1,1,1,1,1,1\n" * 2000)),
    "nan.csv": (REFUSED, text("nan,nan,nan,nan,nan,nan\n" * 2000)),
    "one-cell.csv": (REFUSED, text("1\n")),
    "no-end-of-line.csv": (REFUSED, text("1," * 500_000)),
    "zeros.csv": (REFUSED, lambda: bytes(100_000)),
    "utf-16.csv": (REFUSED, lambda: ("1,2,3,4,5,6\n" * 2000).encode("utf-16")),
    "quoted-without-end.csv": (REFUSED, text('"1,2,3\n' * 2000)),
    "page.csv": (REFUSED, text("<html><body>404</body></html>\n" * 20)),
}  # fmt: skip
