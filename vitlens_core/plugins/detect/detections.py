"""Boxes in a picture, with what they show.

Boxes are [N, 4]: left, top, right, bottom, in pixels of the picture.

Axes: N boxes, M others, Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Of two boxes for one query that overlap more, the better one stays.
MOST_OVERLAP = 0.3


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, the best first.

    Attributes:
        boxes: [N, 4] in pixels.
        scores: [N], higher is better; comparable within one detector only.
        queries: [N], number of the query that each box shows.
    """

    boxes: Tensor
    scores: Tensor
    queries: Tensor

    def best(self, count: int, least: float = float("-inf")) -> Detections:
        """Return up to `count` boxes of at least a score, the best first."""
        order = self.scores.argsort(descending=True)
        order = order[self.scores[order] >= least][:count]
        return Detections(self.boxes[order], self.scores[order], self.queries[order])

    def best_of_each(self, count: int) -> Detections:
        """Return up to `count` boxes of every query, the best first."""
        seen: dict[int, int] = {}
        kept = []
        for index in self.scores.argsort(descending=True).tolist():
            query = int(self.queries[index])
            seen[query] = seen.get(query, 0) + 1
            if seen[query] <= count:
                kept.append(index)
        return Detections(self.boxes[kept], self.scores[kept], self.queries[kept])

    def without_overlaps(self, most: float = MOST_OVERLAP) -> Detections:
        """Drop every box that overlaps a better one of the same query by more than `most`."""
        order = self.scores.argsort(descending=True).tolist()
        overlaps = overlap(self.boxes, self.boxes)
        kept: list[int] = []
        for index in order:
            rivals = [k for k in kept if self.queries[k] == self.queries[index]]
            if not rivals or overlaps[index, rivals].max() <= most:
                kept.append(index)
        return Detections(self.boxes[kept], self.scores[kept], self.queries[kept])


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute intersection over union, [N, M], of boxes [N, 4] and [M, 4]."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return torch.where(union > 0, common / union, 0.0)


def average_precision(scores: Tensor, is_right: Tensor, present: int) -> float:
    """Compute the area under precision over recall of ranked boxes (VOC, all points).

    Args:
        scores: [N] of all boxes of all pictures.
        is_right: [N], whether a box is the first to hit an object that it names.
        present: number of objects there are.
    """
    if not present:
        return float("nan")
    right = is_right[scores.argsort(descending=True, stable=True)].double()
    if not len(right):
        return 0.0
    hits = right.cumsum(0)
    precision = hits / torch.arange(1, len(right) + 1)
    # The best precision at this recall or a higher one.
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float((envelope * right).sum() / present)
