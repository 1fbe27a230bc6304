"""containers: compares the length that a file's header states with the bytes that are there.

Decoders read half a file without a word. A length of 0, or the largest one, is that of a stream
whose end was not known when the header was written; it says nothing.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO

from vitlens_core.errors import InputError
from vitlens_core.notes import note
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import (
    AIFF,
    AU,
    AVI,
    CAF,
    FLV,
    GIF,
    MATROSKA,
    MP3,
    MP4,
    OGG,
    W64,
    WAV,
    Format,
)

_HEAD_BYTES = 1 << 16
_LARGEST_PAGE_BYTES = 27 + 255 + 255 * 255  # of an Ogg
_UNKNOWN = {0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF - 36}
_LEAST_SHARE = 0.98  # of an MP3's stated bytes: encoders count a frame more or less


def check_whole(path: Path, content: Format) -> None:
    """Raise InputError if the header of a file states more than is there."""
    checks = {
        WAV: _check_wav,
        AIFF: _check_aiff,
        AU: _check_au,
        CAF: _check_caf,
        W64: _check_w64,
        OGG: _check_ogg,
        GIF: _check_gif,
        FLV: _check_flv,
        AVI: _check_riff,
        MP4: _check_boxes,
        MATROSKA: _check_matroska,
        MP3: _check_mp3,
    }
    check = checks.get(content)
    if check is None:
        return
    try:
        with path.open("rb") as file:
            check(path, file, path.stat().st_size)
    except (OSError, ValueError, OverflowError) as error:  # sizes that no file can have
        raise unreadable(path, f"a file of {content.name}", error) from error


def stream_patched(path: Path) -> Path | io.BytesIO:
    """Return the path of a WAV, or its content with the true size if its header states none.

    libsndfile takes a stated size of 0 as no sound.
    """
    with path.open("rb") as file:
        place = _find_chunk(file, b"data", little=True)
        if place is None:
            return path
        start, stated = place
    size = path.stat().st_size
    if stated not in _UNKNOWN or start >= size:
        return path
    content = bytearray(path.read_bytes())
    content[start - 4 : start] = (size - start).to_bytes(4, "little")
    content[4:8] = (size - 8).to_bytes(4, "little")
    return io.BytesIO(content)


def _cut(path: Path, stated: int, found: int) -> InputError:
    return InputError(
        f"{path} is cut short: its header states {stated} bytes, {found} are there; fetch it again"
    )


def _find_chunk(file: IO[bytes], name: bytes, *, little: bool) -> tuple[int, int] | None:
    """Find a chunk of a RIFF or IFF file: where its content starts, and its stated size."""
    file.seek(12)
    while len(header := file.read(8)) == 8:
        size = int.from_bytes(header[4:], "little" if little else "big")
        if header[:4] == name:
            return file.tell(), size
        if size in _UNKNOWN and size:
            return None
        file.seek(size + size % 2, 1)
    return None


def _check_wav(path: Path, file: IO[bytes], size: int) -> None:
    kind = file.read(4)
    if kind == b"RF64":  # 64-bit sizes stand in the first chunk, behind that of the whole
        stated = int.from_bytes(file.read(32)[24:32], "little")
        place = _find_chunk(file, b"data", little=True)
        if place and stated and place[0] + stated > size:
            raise _cut(path, place[0] + stated, size)
    if kind != b"RIFF":  # RIFX has its sizes the other way round
        return
    place = _find_chunk(file, b"data", little=True)
    if place and place[1] not in _UNKNOWN and place[0] + place[1] > size:
        raise _cut(path, place[0] + place[1], size)


def _check_aiff(path: Path, file: IO[bytes], size: int) -> None:
    place = _find_chunk(file, b"SSND", little=False)
    if place and place[1] not in _UNKNOWN and place[0] + place[1] > size:
        raise _cut(path, place[0] + place[1], size)


def _check_au(path: Path, file: IO[bytes], size: int) -> None:
    head = file.read(12)
    order = "big" if head[:4] == b".snd" else "little"
    start, stated = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
    if stated not in _UNKNOWN and start + stated > size:
        raise _cut(path, start + stated, size)


def _check_caf(path: Path, file: IO[bytes], size: int) -> None:
    file.seek(8)
    while len(header := file.read(12)) == 12:
        stated = int.from_bytes(header[4:], "big", signed=True)
        if header[:4] == b"data":
            if stated >= 0 and file.tell() + stated > size:
                raise _cut(path, file.tell() + stated, size)
            return
        file.seek(max(stated, 0), 1)


def _check_w64(path: Path, file: IO[bytes], size: int) -> None:
    stated = int.from_bytes(file.read(24)[16:24], "little")
    if stated > size:
        raise _cut(path, stated, size)


def _check_ogg(path: Path, file: IO[bytes], size: int) -> None:
    """Refuse a last page that is cut; a stream without its end mark gets a note."""
    file.seek(max(0, size - _HEAD_BYTES - _LARGEST_PAGE_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    end = at + 27 + tail[at + 26] + sum(segments)
    if end > len(tail) or len(segments) < tail[at + 26]:
        raise _cut(path, size - len(tail) + end, size)
    if not tail[at + 5] & 4:
        note("the file has no end mark: it may be cut short")


def _check_gif(path: Path, file: IO[bytes], size: int) -> None:
    file.seek(max(0, size - _HEAD_BYTES))
    if not file.read().rstrip(b"\0").endswith(b";"):
        raise InputError(f"{path} is cut short: it lacks the mark that ends a GIF; fetch it again")


def _check_flv(path: Path, file: IO[bytes], size: int) -> None:
    """The last four bytes are the size of the last tag."""
    file.seek(-4, 2)
    back = int.from_bytes(file.read(4), "big")
    if 0 < back <= size - 4:
        file.seek(size - 4 - back)
        if file.read(1) in (b"\x08", b"\x09", b"\x12"):
            return
    raise InputError(f"{path} is cut short: it does not end with a whole tag; fetch it again")


def _check_riff(path: Path, file: IO[bytes], size: int) -> None:
    stated = int.from_bytes(file.read(8)[4:], "little")
    if stated not in _UNKNOWN and stated + 8 > size:
        raise _cut(path, stated + 8, size)


def _check_boxes(path: Path, file: IO[bytes], size: int) -> None:
    """Walk the boxes of an MP4; a size of 0 reaches to the end, 1 stands for a longer number."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return
        if length < 8 or not re.fullmatch(rb"[ -~\xa9]{4}", header[4:8]):
            return  # what follows is no box: some writers leave bytes behind
        if at + length > size:
            raise _cut(path, at + length, size)
        at += length


def _check_matroska(path: Path, file: IO[bytes], size: int) -> None:
    head = file.read(_HEAD_BYTES)
    at = head.find(b"\x18\x53\x80\x67")  # the segment, which is nearly the whole file
    if at < 0 or at + 5 > len(head):
        return
    first = head[at + 4]
    width = 9 - first.bit_length() if first else 9
    if width > 8:
        return
    stated = int.from_bytes(head[at + 4 : at + 4 + width], "big") & ((1 << 7 * width) - 1)
    end = at + 4 + width + stated
    if stated != (1 << 7 * width) - 1 and end > size:  # all ones: not known
        raise _cut(path, end, size)


def _check_mp3(path: Path, file: IO[bytes], size: int) -> None:
    """Compare with the number of bytes that most encoders write into the first frame."""
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3":
        # Each byte of this size has 7 bits.
        start = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    frame = file.read(256)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0:
        return
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    if not flags & 2:  # without the number of bytes
        return
    place = at + 8 + 4 * (flags & 1)
    stated = int.from_bytes(frame[place : place + 4], "big")
    if stated and size - start < _LEAST_SHARE * stated:
        raise _cut(path, start + stated, size)
