"""tar_index: finds where the files of a tar's samples lie.

Reads     a USTAR archive that `shards.write_samples` wrote.
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

    Neighbouring files with one key are a sample. A sample of four files takes some 150 bytes.
    """

    def __init__(self, tar: memoryview, path: UPath) -> None:
        """Read all headers.

        Raises:
            IntegrityError: the tar is damaged; the message names `path` and the last good sample.
        """
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
        self._extensions.append(sys.intern(extension))  # few different strings, many times
        self._starts.append(start)
        self._sizes.append(size)
        self._ends[-1] = len(self._starts)

    def files(self, number: int) -> dict[str, tuple[int, int]]:
        """Return the first byte and the size of each file of a sample, by extension."""
        first = self._ends[number - 1] if number else 0
        of_sample = slice(first, self._ends[number])
        places = zip(self._starts[of_sample], self._sizes[of_sample], strict=True)
        return dict(zip(self._extensions[of_sample], places, strict=True))


def _files(tar: memoryview) -> Iterator[tuple[str, int, int]]:
    """Yield name, first byte and size of the files of an archive.

    tarfile takes ten times as long.

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
        # A header's checksum is the sum of its bytes, with its own field counted as blanks.
        # zlib computes it fast: the lower half of Adler-32 is that sum plus one, modulo 65521.
        summed = zlib.adler32(_BLANK_SUM, zlib.adler32(header[:148]))
        if (zlib.adler32(header[156:], summed) & 0xFFFF) != (_octal(header[148:156]) + 1) % 65521:
            raise tarfile.ReadError("its next header is damaged")
        if header[156:157] not in _PLAIN:
            raise tarfile.ReadError(f"holds {header[:100].rstrip(_NUL)!r}, which is no plain file")
        name = header[:100].rstrip(_NUL).decode()
        if header[345]:  # USTAR's prefix field: the beginning of a name of over 100 bytes
            name = f"{header[345:500].rstrip(_NUL).decode()}/{name}"
        start += tarfile.BLOCKSIZE
        size = _octal(header[124:136])
        if start + size > len(tar):
            raise tarfile.ReadError("cut short")
        yield name, start, size
        start += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE  # files are padded to blocks


def _octal(field: bytes) -> int:
    try:
        return int(field.rstrip(b" \0") or b"0", 8)
    except ValueError as error:
        raise tarfile.ReadError("its next header is damaged") from error
