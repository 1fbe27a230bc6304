"""tar_index: where the files of a tar's samples lie.

Reads     a USTAR archive as `shard_io.write_samples` writes it.
Promises  every header is checked; a tar that is cut short or damaged has no index.
"""

from __future__ import annotations

import sys
import tarfile
import zlib
from array import array
from collections.abc import Iterator

from upath import UPath

from vitlens_core.errors import IntegrityError

_NUL, _PLAIN = b"\0", (b"0", b"\0")
_END, _BLANK_SUM = bytes(tarfile.BLOCKSIZE), b" " * 8


class TarIndex:
    """The keys of a tar's samples, in stored order, and the place of each of their files.

    Files of one key that lie side by side are a sample. Some 150 bytes a sample of four files.
    """

    def __init__(self, tar: memoryview, path: UPath) -> None:
        """Raises IntegrityError: damaged; the message names `path` and the last good sample."""
        self.keys: list[str] = []
        self._ends = array("q")
        self._extensions: list[str] = []
        self._starts = array("q")
        self._sizes = array("q")
        try:
            for name, start, size in _files(tar):
                self._add(name, start, size)
        except tarfile.TarError as error:
            last = self.keys[-1] if self.keys else "none"
            raise IntegrityError(f"{path} is damaged after sample {last}: {error}") from error

    def _add(self, name: str, start: int, size: int) -> None:
        key, _, extension = name.partition(".")
        if not self.keys or self.keys[-1] != key:
            self.keys.append(key)
            self._ends.append(len(self._starts))
        self._extensions.append(sys.intern(extension))
        self._starts.append(start)
        self._sizes.append(size)
        self._ends[-1] = len(self._starts)

    def files(self, number: int) -> dict[str, tuple[int, int]]:
        """First byte and size of each file of a sample, by extension."""
        first = self._ends[number - 1] if number else 0
        mine = slice(first, self._ends[number])
        places = zip(self._starts[mine], self._sizes[mine], strict=True)
        return dict(zip(self._extensions[mine], places, strict=True))


def _files(tar: memoryview) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of the files of an archive.

    tarfile does the same in ten times the time.

    Raises:
        tarfile.TarError: cut short, or a header that is damaged or of another kind.
    """
    start = 0
    while True:
        header = bytes(tar[start : start + tarfile.BLOCKSIZE])
        if header == _END:
            return
        if len(header) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("cut short")
        # Adler-32's lower half is the sum of all bytes, and one; the sum's own field counts as
        # blanks. Both are taken modulo 65521.
        summed = zlib.adler32(_BLANK_SUM, zlib.adler32(header[:148]))
        if (zlib.adler32(header[156:], summed) & 0xFFFF) != (_octal(header[148:156]) + 1) % 65521:
            raise tarfile.ReadError("its next header is damaged")
        if header[156:157] not in _PLAIN:
            raise tarfile.ReadError(f"holds {header[:100].rstrip(_NUL)!r}, which is no plain file")
        name = header[:100].rstrip(_NUL).decode()
        if header[345]:  # a long name's beginning
            name = f"{header[345:500].rstrip(_NUL).decode()}/{name}"
        start += tarfile.BLOCKSIZE
        size = _octal(header[124:136])
        if start + size > len(tar):
            raise tarfile.ReadError("cut short")
        yield name, start, size
        start += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _octal(field: bytes) -> int:
    try:
        return int(field.rstrip(b" \0") or b"0", 8)
    except ValueError as error:
        raise tarfile.ReadError("its next header is damaged") from error
