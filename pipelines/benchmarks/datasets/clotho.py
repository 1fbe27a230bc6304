"""Clotho's evaluation side; layout and licence in `source.datasets.clotho`.

Protocol: each of five captions → its recording among 1,045; six clips of 5 s, averaged before
normalising.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.clotho import Clotho


def mount(root: str) -> Mounted:
    return of_source(Clotho(root=root, splits=("test",)), "audio")


BENCHMARKS = (
    Benchmark(
        name="clotho",
        title="Clotho",
        modality="audio",
        task="retrieval",
        mount=mount,
        protocol="evaluation side, five captions each; 6 clips of 5 s averaged before normalising",
        licence="non-commercial research (captions); recordings under their own licences",
        published={
            "text_to_audio_r1": {"ViT-Lens-L": 0.081, "ImageBind": 0.060},
            "text_to_audio_r10": {"ViT-Lens-L": 0.312, "ImageBind": 0.284},
        },
        preparation={"clips": 6},
        expected={"clip_s": 5.0},
    ),
)
