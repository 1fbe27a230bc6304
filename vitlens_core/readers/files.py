"""Checks a file before a reader opens it, and imports the libraries of the readers."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vitlens_core.errors import ConfigError, InputError

# The ending that a file's first bytes tell; `????` stands for any four (a length).
_BEGINNINGS = {
    b"glTF": ".glb",
    b"ply\n": ".ply",
    b"ply\r": ".ply",
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tiff",
    b"MM\0*": ".tiff",
    b"RIFF????WEBP": ".webp",
    b"RIFF????WAVE": ".wav",
    b"RIFF????AVI ": ".avi",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"ID3": ".mp3",
    b"\xff\xfb": ".mp3",
    b"\xff\xf3": ".mp3",
    b"\xff\xf2": ".mp3",
    b"????ftyp": ".mp4",
    b"\x1aE\xdf\xa3": ".webm",
}


@contextmanager
def as_file(data: bytes) -> Generator[Path]:
    """Write the bytes of a file to a temporary file, for readers that take paths.

    Raises:
        InputError: no reader's kind of file begins with such bytes.
    """
    with tempfile.TemporaryDirectory(prefix="vitlens-input-") as folder:
        path = Path(folder, f"input{ending_of(data)}")
        path.write_bytes(data)
        yield path


def ending_of(data: bytes) -> str:
    """Return the ending of the kind of file that such bytes begin (`InputError`: of none)."""
    for beginning, ending in _BEGINNINGS.items():
        pairs = zip(beginning, data, strict=False)
        if len(data) >= len(beginning) and all(b in (ord("?"), byte) for b, byte in pairs):
            return ending
    endings = ", ".join(dict.fromkeys(_BEGINNINGS.values()))
    raise InputError(
        f"expected the bytes of a {endings} file, found {len(data)} bytes that begin with "
        f"{data[:12]!r}. For a file of another kind, give the path of a file with its ending"
    )


def optional(package: str, extra: str = "files") -> ModuleType:
    """Import a library of an extra. Raises ConfigError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this needs {package}, which is not installed: pip install 'vitlens[{extra}]'"
        ) from error


def existing(path: str | Path, endings: Collection[str], what: str) -> Path:
    """Check that `path` is a file with content and one of the endings, and return it as a Path.

    Args:
        endings: lower case, with the dot.
        what: the content expected, for messages ("a sound file").

    Raises:
        InputError: the file is missing, a folder, empty, or has another ending.
    """
    path = Path(path)
    if not path.is_file():
        occupant = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"expected {what} at {path}, found {occupant}")
    if path.suffix.lower() not in endings:
        raise InputError(f"expected {what} ({', '.join(sorted(endings))}), found {path.name}")
    if not path.stat().st_size:
        raise InputError(f"expected {what}, found an empty file: {path}")
    return path


def unreadable(path: Path, what: str, error: Exception) -> InputError:
    """Make the error for a file whose content is not what its name says."""
    return InputError(f"{path} cannot be read as {what}: {error}. It is damaged or misnamed")
