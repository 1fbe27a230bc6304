"""ESC-50, zero-shot on all 2,000 clips; layout and licence in `source.datasets.esc50`.

Protocol: two clips of 5 s, averaged before normalising, among the 50 classes. Few-shot and
linear probe, which must train, divide the recordings of every class in two.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.esc50 import FOLDS, Esc50


def mount(root: str) -> Mounted:
    return of_source(Esc50(root=root, test_folds=FOLDS), "audio")


BENCHMARKS = (
    Benchmark(
        name="esc50",
        title="ESC-50",
        modality="audio",
        task="classification",
        mount=mount,
        protocol="all five folds tested; 2 clips of 5 s averaged before normalising",
        licence="CC BY-NC 3.0",
        published={"top1": {"ViT-Lens-L": 0.759, "ImageBind": 0.669}},
        preparation={"clips": 2},
        expected={"clip_s": 5.0},
    ),
)
