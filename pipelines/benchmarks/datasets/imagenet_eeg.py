"""ImageNet-EEG, validation and test apart; layout in `source.datasets.imagenet_eeg`.

Protocol: block split 0, all six people, 5–95 Hz, 40 classes. The split has a known confound,
which every row states.
"""

from __future__ import annotations

from functools import partial

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.imagenet_eeg import WORDS, ImagenetEeg
from pipelines.store.splits import Split

CONFOUND = (
    "known confound: a class was shown as one block, on all sides, so slow drifts give it away; "
    "says nothing of pictures being read from EEG"
)
_PUBLISHED: dict[Split, float] = {"val": 0.418, "test": 0.427}


def mount(root: str, side: Split) -> Mounted:
    return of_source(ImagenetEeg(root=root), "eeg", side=side, classes=tuple(WORDS.values()))


BENCHMARKS = tuple(
    Benchmark(
        name=f"imagenet_eeg_{side}",
        title=f"ImageNet-EEG, {side}",
        modality="eeg",
        task="classification",
        mount=partial(mount, side=side),
        protocol=f"block split 0, {side}, all people, 5–95 Hz",
        licence="none stated (EEG); ImageNet terms of access (pictures)",
        published={"top1": {"ViT-Lens-L": figure}},
        caveat=CONFOUND,
    )
    for side, figure in _PUBLISHED.items()
)
