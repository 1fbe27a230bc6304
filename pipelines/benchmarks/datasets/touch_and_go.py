"""Touch and Go, material of test.txt; layout and licence in `source.datasets.touch_and_go`.

Protocol: 20 materials. Hard/soft and rough/smooth, which ViT-Lens reports too (74.7 and 63.8),
have no labels in these lists and are not measured.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.touch_and_go import MATERIALS, TouchAndGo


def mount(root: str) -> Mounted:
    settings = TouchAndGo(root=root, validation_fraction=0)
    return of_source(settings, "tactile", classes=MATERIALS)


BENCHMARKS = (
    Benchmark(
        name="touch_and_go",
        title="Touch and Go, material",
        modality="tactile",
        task="classification",
        mount=mount,
        protocol="frames of test.txt, 20 materials",
        licence="none stated",
        published={"top1": {"ViT-Lens-L": 0.658}},
        caveat="test touches are of places that were trained on; neighbouring frames are copies",
    ),
)
