# ruff: noqa: E501  one case a line
"""Hostile pictures, sounds and videos: headers that lie, and one format under another's name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.chaos.fuzzing import picture, sound, video
from tests.chaos.hostile.meshes import READ, REFUSED, Cases


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(*chunks: bytes, width: int = 8, height: int = 8, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of any chunks after its header."""
    header = chunk(b"IHDR", struct.pack(">II5B", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def pixels(count: int) -> bytes:
    return chunk(b"IDAT", zlib.compress(bytes(count)))


_WHOLE = pixels(8 * 25)


def put(data: Callable[[], bytes], at: int, value: bytes) -> Callable[[], bytes]:
    """A whole file with some bytes overwritten."""

    def made() -> bytes:
        changed = bytearray(data())
        changed[at : at + len(value)] = value
        return bytes(changed)

    return made


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A TIFF of one directory: (tag, type, count, value)."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    return b"II*\0\x08\0\0\0" + body + struct.pack("<I", following) + bytes(64)


def exif(orientation: int) -> bytes:
    file = io.BytesIO()
    image, tags = Image.new("RGB", (16, 8)), Image.Exif()
    tags[0x0112] = orientation
    image.save(file, "JPEG", exif=tags)
    return file.getvalue()


def profiled(profile: bytes) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", icc_profile=profile)
    return file.getvalue()


_SIZES = ((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1))
PICTURES: Cases = {
    "no-pixels.png": (REFUSED, lambda: png()),
    "of-no-width.png": (REFUSED, lambda: png(_WHOLE, width=0)),
    "wide.png": (REFUSED, lambda: png(_WHOLE, width=2**31 - 1, height=1)),
    "too-few-pixels.png": (REFUSED, lambda: png(pixels(9))),
    "more-than-its-pixels.png": (READ, lambda: png(pixels(10**6))),
    "bits-of-no-kind.png": (REFUSED, lambda: png(_WHOLE, depth=3)),
    "palette-without-colours.png": (READ, lambda: png(pixels(72), colour=3)),
    "bomb-in-a-text.png": (REFUSED, lambda: png(chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**27))), _WHOLE)),
    "bomb-in-a-profile.png": (REFUSED, lambda: png(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**27))), _WHOLE)),
    "many-texts.png": (READ, lambda: png(*[chunk(b"tEXt", b"k\0v")] * 20_000, _WHOLE)),
    "profile-of-noise.png": (READ, lambda: profiled(b"noise" * 100)),
    "profile-of-nothing.png": (READ, lambda: profiled(b"\0" * 128)),
    "bad-sum.png": (REFUSED, put(lambda: png(_WHOLE), 30, b"\0\0")),
    "pages-without-end.tif": (READ, lambda: tiff(*_SIZES, (273, 4, 1, 100), (278, 4, 1, 8), (279, 4, 1, 64), following=8)),
    "strips-beyond.tif": (REFUSED, lambda: tiff(*_SIZES, (273, 4, 1, 2**31), (278, 4, 1, 8), (279, 4, 1, 64))),
    "tags-beyond.tif": (REFUSED, lambda: b"II*\0" + struct.pack("<I", 2**31) + bytes(50)),
    "entries-of-billions.tif": (REFUSED, lambda: tiff((256, 4, 2**31, 2**20), *_SIZES[1:])),
    "compression-of-no-kind.tif": (REFUSED, lambda: tiff(*_SIZES, (259, 3, 1, 9999), (273, 4, 1, 100), (279, 4, 1, 64))),
    "wide.tif": (REFUSED, lambda: tiff((256, 4, 1, 2**31 - 1), (257, 4, 1, 2**31 - 1), *_SIZES[2:])),
    "turned-by-no-angle.jpg": (READ, lambda: exif(200)),
    "jpeg-of-no-size.jpg": (REFUSED, lambda: b"\xff\xd8\xff\xc0\0\x11\x08\0\0\0\0\3" + bytes(40) + b"\xff\xd9"),
    "jpeg-of-65535.jpg": (REFUSED, lambda: b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x11\0\2\x11\1\3\x11\1\xff\xd9"),
    "markers-without-end.jpg": (REFUSED, lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * 200_000),
    "gif-of-frames-beyond.gif": (REFUSED, put(lambda: picture("GIF"), 6, b"\xff\xff\xff\xff")),
    "webp-that-states-more.webp": (REFUSED, put(lambda: picture("WEBP"), 4, b"\xff\xff\xff\x7f")),
    "bmp-of-negative-size.bmp": (REFUSED, put(lambda: picture("BMP"), 18, struct.pack("<ii", -40, -56))),
    "bmp-of-billions.bmp": (REFUSED, put(lambda: picture("BMP"), 18, struct.pack("<ii", 2**31 - 1, 2**31 - 1))),
    "ppm-of-words.ppm": (REFUSED, lambda: b"P6\nwide high\n255\n" + bytes(50)),
    "ppm-of-billions.ppm": (REFUSED, lambda: b"P6\n99999999 99999999\n255\n" + bytes(50)),
    "ppm-of-no-grey.ppm": (REFUSED, lambda: b"P5\n4 4\n0\n" + bytes(16)),
    "avif-of-noise.avif": (REFUSED, lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(range(256)) * 4),
    "avif-cut.avif": (REFUSED, lambda: picture("AVIF")[:-40]),
    "jp2-of-noise.jp2": (REFUSED, lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200)),
    "page.png": (REFUSED, lambda: b"<!doctype html><script>alert(1)</script>"),
    "drawing.png": (REFUSED, lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"),
    "archive.png": (REFUSED, lambda: b"PK\3\4" + bytes(100)),
    "program.png": (REFUSED, lambda: b"\x7fELF" + bytes(200)),
    "jpeg-under-another-name.png": (READ, lambda: picture("JPEG")),
}  # fmt: skip


def riff(*chunks: tuple[bytes, bytes, int | None]) -> bytes:
    """A WAV of any chunks: (name, content, stated size)."""
    body = b"".join(
        name + struct.pack("<I", len(data) if size is None else size) + data
        for name, data, size in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def form(kind: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16) -> bytes:
    wide = max(1, channels * bits // 8)
    return struct.pack("<HHIIHH", kind, channels, rate, rate * wide % 2**32, wide % 2**16, bits)


_TONE = (np.sin(np.arange(4000) / 9) * 8000).astype("<i2").tobytes()


def wav(data: bytes = _TONE, size: int | None = None, **stated: int) -> Callable[[], bytes]:
    return lambda: riff((b"fmt ", form(**stated), None), (b"data", data, size))


SOUNDS: Cases = {
    "of-no-channel.wav": (REFUSED, wav(channels=0)),
    "of-65535-channels.wav": (REFUSED, wav(channels=65_535)),
    "of-no-rate.wav": (REFUSED, wav(rate=0)),
    "of-billions-of-hertz.wav": (REFUSED, wav(rate=2**32 - 1)),
    "of-no-bits.wav": (REFUSED, wav(bits=0)),
    "of-three-bits.wav": (READ, wav(bits=3)),
    "code-of-no-kind.wav": (REFUSED, wav(kind=0x7777)),
    "without-form.wav": (REFUSED, lambda: riff((b"data", _TONE, None))),
    "without-data.wav": (REFUSED, lambda: riff((b"fmt ", form(), None))),
    "no-sample.wav": (REFUSED, wav(data=b"")),
    "states-more.wav": (REFUSED, wav(size=2**30)),
    "nan.wav": (REFUSED, wav(data=np.full(4000, np.nan, "<f4").tobytes(), kind=3, bits=32)),
    "infinite.wav": (REFUSED, wav(data=np.full(4000, np.inf, "<f4").tobytes(), kind=3, bits=32)),
    "loud.wav": (REFUSED, wav(data=np.full(4000, 1e38, "<f4").tobytes(), kind=3, bits=32)),
    "many-chunks.wav": (REFUSED, lambda: riff((b"fmt ", form(), None), *[(b"LIST", b"", None)] * 50_000, (b"data", _TONE, None))),
    "list-within-list.wav": (READ, lambda: riff((b"fmt ", form(), None), (b"LIST", b"INFO" * 5000, None), (b"data", _TONE, None))),
    "flac-of-no-block.flac": (REFUSED, lambda: b"fLaC" + bytes(60)),
    "flac-of-endless-blocks.flac": (REFUSED, lambda: b"fLaC" + b"\4\0\0\0" * 100_000),
    "flac-cut.flac": (REFUSED, lambda: sound("FLAC")[:200]),
    "ogg-of-noise.ogg": (REFUSED, lambda: b"OggS" + bytes(range(256)) * 20),
    "ogg-cut.ogg": (REFUSED, lambda: sound("OGG", "VORBIS")[:400]),
    "mp3-of-headers.mp3": (REFUSED, lambda: b"\xff\xfb\x90\0" * 5000),
    "mp3-in-a-tag.mp3": (REFUSED, lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(500)),
    "playlist.mp3": (REFUSED, lambda: b"#EXTM3U\nfile:///etc/passwd\n"),
    "page.wav": (REFUSED, lambda: b"<html>404</html>"),
    "wav-under-another-name.flac": (READ, wav()),
}  # fmt: skip


def box(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I", len(content) + 8 if size is None else size) + kind + content


_TYPE = box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
VIDEOS: Cases = {
    "no-movie.mp4": (REFUSED, lambda: _TYPE + box(b"mdat", bytes(100))),
    "no-track.mp4": (REFUSED, lambda: _TYPE + box(b"moov", box(b"mvhd", bytes(100)))),
    "box-of-size-0.mp4": (REFUSED, lambda: _TYPE + box(b"moov", bytes(40), 0)),
    "box-of-size-1.mp4": (REFUSED, lambda: _TYPE + box(b"moov", bytes(40), 1)),
    "box-of-billions.mp4": (REFUSED, lambda: _TYPE + box(b"moov", bytes(40), 2**32 - 1)),
    "boxes-in-boxes.mp4": (REFUSED, lambda: _TYPE + nested(b"moov", 4_000)),
    "many-boxes.mp4": (REFUSED, lambda: _TYPE + box(b"free", b"") * 100_000),
    "reference-to-a-file.mp4": (REFUSED, lambda: _TYPE + box(b"moov", box(b"dref", bytes(7) + b"\1" + box(b"url ", bytes(4) + b"file:///etc/passwd\0")))),
    "cut.mp4": (REFUSED, lambda: video("mp4", "mpeg4")[:-300]),
    "cut.mkv": (REFUSED, lambda: video("matroska", "mpeg4")[:600]),
    "webm-of-noise.webm": (REFUSED, lambda: b"\x1aE\xdf\xa3" + bytes(range(256)) * 8),
    "elements-of-billions.webm": (REFUSED, lambda: b"\x1aE\xdf\xa3\x01" + b"\xff" * 7 + bytes(200)),
    "avi-of-no-stream.avi": (REFUSED, lambda: b"RIFF\x40\0\0\0AVI LIST\4\0\0\0hdrl" + bytes(44)),
    "transport-of-noise.ts": (REFUSED, lambda: (b"G" + bytes(187)) * 50),
    "sound-alone.mp4": (REFUSED, lambda: b"OggS" + sound("OGG", "VORBIS")[4:]),
    "playlist.mkv": (REFUSED, lambda: b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"),
    "page.webm": (REFUSED, lambda: b"<html><video src=x></html>"),
    "picture.gif": (READ, lambda: picture("GIF")),
}  # fmt: skip


def nested(kind: bytes, depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = box(kind, content)
    return content
