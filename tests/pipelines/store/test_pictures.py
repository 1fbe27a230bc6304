"""Pictures of samples: PNG and nothing else is decoded, whatever a shard holds."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipelines.renders.thumbnails import thumbnail
from pipelines.store.shards import decode_png, encode_png
from vitlens_core.errors import IntegrityError

WHOLE = encode_png(np.zeros((8, 8, 3), np.uint8))
OTHERS = {"cut": WHOLE[: len(WHOLE) // 2], "text": b"%!PS-Adobe-3.0 EPSF-3.0", "empty": b""}


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "GIF", "BMP", *OTHERS])
def test_a_picture_that_is_no_whole_png_is_refused(kind: str) -> None:
    data = OTHERS[kind] if kind in OTHERS else picture(kind)
    with pytest.raises(IntegrityError, match="no PNG that can be read"):
        decode_png(data)
    with pytest.raises(IntegrityError, match="no PNG that can be read"):
        thumbnail(data, 4)
    assert decode_png(WHOLE).shape == (8, 8, 3)


def test_a_png_of_billions_of_pixels_is_refused_before_it_is_decoded() -> None:
    header = b"IHDR" + struct.pack(">II5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    with pytest.raises(IntegrityError, match="exceeds limit"):
        decode_png(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 40) + b"IDAT" + bytes(44))
