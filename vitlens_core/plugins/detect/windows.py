"""Detection without a detector: windows of the picture are embedded, and compared with queries.

It works with any foundation and needs no further model. Windows of several sizes slide over the
picture; each is drawn together around what differs from the picture's rim, dropped if it cuts a
thing, embedded as an image, and scored by its cosine to every query. It is coarse, and needs a
plain ground to tell where a thing ends.

Axes: H height, W width, N windows, Q queries, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vitlens_core.plugins.detect.detections import Detections, overlap

# Of the picture's shorter side.
SIZES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
STEPS_PER_WINDOW = 8
# Grey levels; less is noise of compression.
_DIFFERENT = 12
_SMALLEST_PX = 8
# Windows that were drawn together around the same thing are one.
_SAME = 0.9
# Where no window holds a thing whole, a coarser choice of them keeps the work bounded.
_NEAR = 0.6

EmbedImages = Callable[[Sequence[np.ndarray]], Tensor]


def detect(picture: np.ndarray, queries: Tensor, embed: EmbedImages) -> Detections:
    """Find queries in a picture.

    Args:
        picture: uint8 RGB [H, W, 3].
        queries: [Q, E], unit norm.
        embed: uint8 RGB pictures → unit norm [N, E].

    Returns:
        The best window of every query and those that do not overlap it; scores are cosines.
    """
    boxes = propose(picture)
    crops = [picture[top:bottom, left:right] for left, top, right, bottom in boxes.tolist()]
    scores = embed(crops) @ queries.T
    per_query = [
        Detections(boxes.float(), scores[:, number], torch.full((len(boxes),), number))
        for number in range(len(queries))
    ]
    every = Detections(
        torch.cat([one.boxes for one in per_query]),
        torch.cat([one.scores for one in per_query]),
        torch.cat([one.queries for one in per_query]),
    )
    return every.without_overlaps()


def propose(picture: np.ndarray) -> Tensor:
    """Return windows [N, 4] worth a look, in pixels; at least the whole picture."""
    height, width = picture.shape[:2]
    rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ground = np.median(rim, axis=0)
    differs = np.abs(picture.astype(np.int16) - ground).max(-1) > _DIFFERENT
    boxes = [
        box
        for left, top, side in _windows(height, width)
        if (box := _drawn_together(differs, left, top, side))
    ]
    # A window that cuts a thing shows a part of it; where all do, the picture has no plain ground.
    whole = [box for box in boxes if not _cuts(differs, box)]
    kept: list[list[int]] = []
    same = _SAME if whole else _NEAR
    for box in dict.fromkeys(whole or boxes):
        if not (kept and overlap(_boxes([box]), _boxes(kept)).max() > same):
            kept.append(list(box))
    return torch.tensor(kept or [[0, 0, width, height]])


def _windows(height: int, width: int) -> Iterator[tuple[int, int, int]]:
    for size in SIZES:
        side = max(_SMALLEST_PX, round(size * min(height, width)))
        step = max(1, side // STEPS_PER_WINDOW)
        for top in range(0, max(1, height - side + 1), step):
            for left in range(0, max(1, width - side + 1), step):
                yield left, top, side


def _drawn_together(
    differs: np.ndarray, left: int, top: int, side: int
) -> tuple[int, int, int, int] | None:
    """Shrink a window to what differs from the ground; None if that is next to nothing."""
    inside = differs[top : top + side, left : left + side]
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if len(rows) < _SMALLEST_PX or len(columns) < _SMALLEST_PX:
        return None
    x, y = left + int(columns[0]), top + int(rows[0])
    return x, y, left + int(columns[-1]) + 1, top + int(rows[-1]) + 1


def _cuts(differs: np.ndarray, box: Sequence[int]) -> bool:
    """Whether what lies inside a box goes on beyond one of its sides."""
    left, top, right, bottom = box
    height, width = differs.shape
    return bool(
        (left > 0 and (differs[top:bottom, left] & differs[top:bottom, left - 1]).any())
        or (top > 0 and (differs[top, left:right] & differs[top - 1, left:right]).any())
        or (right < width and (differs[top:bottom, right - 1] & differs[top:bottom, right]).any())
        or (
            bottom < height
            and (differs[bottom - 1, left:right] & differs[bottom, left:right]).any()
        )
    )


def _boxes(boxes: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32)
