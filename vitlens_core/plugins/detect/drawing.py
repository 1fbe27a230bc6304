"""A picture with the boxes that were found in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vitlens_core.plugins.detect.detections import Detections

# Told apart by most people; a query keeps its colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def drawn(picture: np.ndarray, found: Detections, names: Sequence[str]) -> Image.Image:
    """Draw boxes and their queries' names over a picture, uint8 RGB [H, W, 3]."""
    image = Image.fromarray(picture).convert("RGB")
    pen = ImageDraw.Draw(image)
    thick = max(2, min(image.size) // 150)
    size = max(11, min(image.size) // 28)
    font = ImageFont.load_default(size)
    for box, score, query in zip(found.boxes, found.scores, found.queries, strict=True):
        colour = _COLOURS[int(query) % len(_COLOURS)]
        left, top, right, bottom = (float(value) for value in box)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=thick)
        label = f"{names[int(query)]} {float(score):.2f}"
        # Inside the picture, also for a thing at its rim.
        room = image.width - pen.textlength(label, font=font) - thick
        at = (max(0.0, min(left + thick, room)), max(0.0, top - size - 4))
        pen.rectangle(pen.textbbox(at, label, font=font), fill=colour)
        pen.text(at, label, fill="white", font=font)
    return image
