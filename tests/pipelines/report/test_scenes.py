"""Composed scenes: what they show is where it is said to be, and finding it is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.report import scenes as composed
from pipelines.store.shards import Sample, encode_json, encode_png
from pipelines.store.splits import Split

COLOURS = np.array(
    [[230, 0, 0], [0, 200, 0], [0, 0, 230], [200, 200, 0], [0, 200, 200], [200, 0, 200]]
)


def _sample(number: int) -> Sample:
    """A disc of its class's colour on nothing; two objects of each of six classes."""
    y, x = np.mgrid[:64, :64]
    view = np.zeros((64, 64, 4), np.uint8)
    disc = (x - 32) ** 2 + (y - 32) ** 2 < 20**2
    view[disc] = [*COLOURS[number % 6], 255]
    split: Split = "test"
    info = {"name": f"{number}", "label": f"class {number % 6}", "group": f"{number}"}
    return {
        "__key__": f"{number}",
        "view0.png": encode_png(view),
        "json": encode_json({**info, "split": split}),
    }


SAMPLES = [_sample(number) for number in range(12)]


def _means(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """Embeds a picture as its mean colour, less white."""
    means = torch.tensor(np.array([255 - p.reshape(-1, 3).mean(0) for p in pictures]))
    return F.normalize(means.float(), dim=-1)


def test_a_box_holds_its_object_and_nothing_else_is_drawn() -> None:
    for scene in composed.compose(SAMPLES, 5):
        assert len({number % 6 for number in scene.objects}) == composed.OBJECTS
        drawn = (scene.picture != 255).any(-1)
        for box, number in zip(scene.boxes.int().tolist(), scene.objects, strict=True):
            left, top, right, bottom = box
            middle = scene.picture[(top + bottom) // 2, (left + right) // 2]
            assert np.abs(middle.astype(int) - COLOURS[number % 6]).max() < 10
            drawn[top:bottom, left:right] = False
        assert not drawn.any()


def test_the_seed_decides_what_is_drawn() -> None:
    first, again = (composed.compose(SAMPLES, 2, seed=3) for _ in range(2))
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(first, again, strict=True))
    other = composed.compose(SAMPLES, 2, seed=4)
    assert not np.array_equal(first[0].picture, other[0].picture)


def test_perfect_queries_find_everything_and_foreign_ones_little() -> None:
    colours = torch.tensor(255 - COLOURS[np.arange(12) % 6]).float()
    queries = F.normalize(colours, dim=-1)
    labels = composed.labels_of(SAMPLES)
    found = composed.measure(composed.compose(SAMPLES, 6), labels, queries, _means)
    assert found.queries == 24
    assert found.own == pytest.approx(1.0)
    assert found.same_class == pytest.approx(1.0)
    assert found.other_class < 0.6


def test_too_few_classes_are_refused() -> None:
    class OfTwo:
        def shards(self, split: str) -> list[str]:
            return ["test-00000.tar"]

        def read(self, path: str) -> list[Sample]:
            return [SAMPLES[0], SAMPLES[1]]

    with pytest.raises(composed.ConfigError, match="more than 4 classes"):
        composed.held_out(OfTwo())  # ty: ignore[invalid-argument-type]
