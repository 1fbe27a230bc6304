"""Caps on what untrusted files may make us read, hold or unpack.

A cap is far above what honest data needs, and far below what hurts. Reading stops at the cap, so
that a claim of the file, such as a size in a header, is never believed.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitlens_core.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

MB = 2**20
TABLE_BYTES = 512 * MB  # a table of recordings: some five million rows
LIST_BYTES = 256 * MB  # any other list of a data set: JSON, CSV, XML
TEXT_BYTES = MB  # the captions, class or details of one recording
ANNOTATION_BYTES = 2048 * MB  # an annotation file, compressed or not
OBJECT_BYTES = 2048 * MB  # one object of a mirror
UNPACKED_BYTES = 4096 * MB  # an annotation file, unpacked; Objaverse's largest has 120 MB
# gzip shrinks zeros by 1000 and JSON by 5 to 20.
GZIP_RATIO = 200
PART_BYTES = 512 * MB  # one part of the metadata, unpacked; it is read whole
_RATIO_FROM = 64 * MB  # small files may have any ratio


def check_size(path: Path, most: int, what: str) -> Path:
    """Return `path` (`InputError`: it has more than `most` bytes)."""
    size = path.stat().st_size
    if size > most:
        raise InputError(f"expected {what} of up to {most:,} bytes at {path}, found {size:,}")
    return path


def read_text(path: Path, most: int, what: str, encoding: str = "utf-8") -> str:
    """Read a text of up to `most` bytes (`InputError`: longer; `UnicodeDecodeError`)."""
    with check_size(path, most, what).open("rb") as file:
        return file.read(most).decode(encoding)


def parse_json(text: str | bytes) -> Any:
    """Parse the JSON of a file or request that somebody else made.

    Raises:
        ValueError: it is no JSON, no UTF-8, or nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its lists or objects are nested too deep") from error


class Gunzipped(io.RawIOBase):
    """The content of a gzip file, unpacked as it is read, up to a size and a ratio.

    Raises:
        InputError (when read): it unpacks to more.
        gzip.BadGzipFile, zlib.error, EOFError (when read): it is damaged or cut short.
    """

    def __init__(self, path: Path, most: int = UNPACKED_BYTES) -> None:
        self._path, self._most, self._given = path, most, 0
        self._packed = check_size(path, ANNOTATION_BYTES, "a gzip file").open("rb")
        self._file = gzip.GzipFile(fileobj=self._packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = self._file.readinto(buffer)
        self._given += count
        taken = self._packed.tell()
        is_bomb = self._given > _RATIO_FROM and self._given > GZIP_RATIO * taken
        if self._given > self._most or is_bomb:
            raise InputError(
                f"{self._path} unpacks to {self._given:,} bytes and more from {taken:,}; expected "
                f"up to {self._most:,}, and up to {GZIP_RATIO} times its size"
            )
        return count

    def close(self) -> None:
        self._file.close()
        self._packed.close()
        super().close()
