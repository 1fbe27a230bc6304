"""VGGSound's test side; layout and licence in `source.datasets.vggsound`.

Protocol: three clips of 5 s, averaged before normalising, among all 309 classes, on the test
clips that could still be fetched.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.vggsound import VggSound


def mount(root: str) -> Mounted:
    return of_source(VggSound(root=root, most_missing=0.99, validation_fraction=0), "audio")


BENCHMARKS = (
    Benchmark(
        name="vggsound",
        title="VGGSound",
        modality="audio",
        task="classification",
        mount=mount,
        protocol="published test side; 3 clips of 5 s averaged before normalising",
        licence="CC BY 4.0 (list); recordings are their uploaders'",
        published={"top1": {"ViT-Lens-L": 0.317, "ImageBind": 0.278}},
        preparation={"clips": 3},
        expected={"clip_s": 5.0},
    ),
)
