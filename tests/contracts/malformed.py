"""Malformed files for the examples of `examples.py`: each is written when a test reads it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_RNG = np.random.default_rng(0)
RGB = _RNG.integers(256, size=(32, 40, 3), dtype=np.uint8)
COUNTS = _RNG.integers(1000, size=(32, 40)).astype(np.uint16)
MAP = _RNG.random((32, 40), dtype=np.float32)


@dataclass(frozen=True)
class File:
    """A file by its name and what writes it; `options` are those of the modality's reader."""

    name: str
    write: Callable[[Path], Any]
    options: dict[str, Any] = field(default_factory=dict)


def file_of_bytes(name: str, content: bytes, **options: Any) -> File:
    return File(name, lambda path: path.write_bytes(content), options)


def file_of_array(name: str, array: np.ndarray, **options: Any) -> File:
    return File(name, lambda path: np.save(path, array, allow_pickle=True), options)


def file_of_picture(name: str, pixels: np.ndarray, **options: Any) -> File:
    return File(name, lambda path: Image.fromarray(pixels).save(path), options)


def no_file(name: str) -> File:
    return File(name, lambda path: None)


def with_one(value: float, array: np.ndarray) -> np.ndarray:
    """The array with one of its numbers replaced."""
    changed = array.copy()
    changed.flat[3] = value
    return changed


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE_FILES = (
    ("absent", no_file("a.png"), "found nothing"),
    ("empty file", file_of_bytes("a.png", b""), "empty file"),
    ("not a picture", file_of_bytes("a.png", b"<html>404</html>"), "found HTML"),
    ("truncated", file_of_bytes("a.png", _png(RGB)[:200]), "cannot be read as a PNG picture"),
    ("wrong content", file_of_bytes("a.png", b"abc"), r"picture \(.*begins with b'abc'"),
)
