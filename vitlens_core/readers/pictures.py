"""Reads pictures through Pillow: RGB, grey levels and integer depth.

Reads     a path.
Promises  it applies the camera's orientation tag, and refuses pictures with more pixels than
          Pillow's limit before it decodes them.
Axes: H height, W width.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vitlens_core.errors import InputError
from vitlens_core.readers.files import existing, unreadable

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
# Pillow's modes of 16-bit grey. `I` has 32 bits, so that its range is checked.
_COUNTS_16_BIT = ("I;16", "I;16B", "I;16L", "I")


def read_rgb(path: str | Path) -> np.ndarray:
    """Read a picture as uint8 RGB [H, W, 3], with transparent pixels over white.

    Raises:
        InputError: the file is missing, damaged, no picture, or larger than Pillow's limit.
    """
    picture = _open(path)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(picture.convert("RGB"))


def read_counts(path: str | Path) -> np.ndarray:
    """Read the integers of a one-channel picture: uint8 or uint16 [H, W].

    Raises:
        InputError: as `read_rgb`, or the picture has colours or other numbers.
    """
    picture = _open(path)
    if picture.mode == "L":
        return np.asarray(picture)
    if picture.mode in _COUNTS_16_BIT:
        counts = np.asarray(picture)
        if counts.min() >= 0 and counts.max() <= np.iinfo(np.uint16).max:
            return counts.astype(np.uint16)
    raise InputError(
        f"expected one channel of 8 or 16 bit in {path}, found mode {picture.mode}; "
        "a colour map cannot be turned back into measurements"
    )


def _open(path: str | Path) -> Image.Image:
    path = existing(path, ENDINGS, "a picture")
    try:
        # Pillow only warns between its limit and twice its limit.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                return ImageOps.exif_transpose(picture)
    except (
        OSError,
        ValueError,
        SyntaxError,  # Pillow's own for a broken PNG
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise unreadable(path, "a picture", error) from error
