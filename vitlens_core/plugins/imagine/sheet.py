"""Found pictures side by side, with their cosines."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

_SIDE_PX, _GAP_PX, _WORDS_PX = 192, 8, 22


def sheet(pictures: Sequence[Image.Image], words: Sequence[str]) -> Image.Image:
    """Put pictures into a row, reduced to squares with white rims, each above its words."""
    step = _SIDE_PX + _GAP_PX
    size = (len(pictures) * step - _GAP_PX, _SIDE_PX + _WORDS_PX)
    whole = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    for number, (picture, below) in enumerate(zip(pictures, words, strict=True)):
        square = ImageOps.pad(picture.convert("RGB"), (_SIDE_PX, _SIDE_PX), color="white")
        whole.paste(square, (number * step, 0))
        pen.text((number * step + 2, _SIDE_PX + 3), below, fill="black", font=font)
    return whole
