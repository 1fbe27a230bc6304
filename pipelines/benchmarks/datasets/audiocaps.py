"""AudioCaps' test side; layout and licence in `source.datasets.audiocaps`.

Protocol: each caption → its recording among the present ones; three clips of 5 s, averaged before
normalising. Published figures are over 963 clips and over 813 (a list without VGGSound's); each row
states the number here.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.audiocaps import AudioCaps

PUBLISHED_COUNTS = (813, 963)


def mount(root: str) -> Mounted:
    settings = AudioCaps(root=root, splits=("test",), most_missing=0.99)
    mounted = of_source(settings, "audio")
    return replace(mounted, notes=(*mounted.notes, count_note(len(mounted.test))))


def count_note(clips: int) -> str:
    """State whether figures are of as many clips as published ones."""
    which = "one" if clips in PUBLISHED_COUNTS else "neither"
    return f"{clips} clips: {which} of the published 813 and 963"


BENCHMARKS = (
    Benchmark(
        name="audiocaps",
        title="AudioCaps",
        modality="audio",
        task="retrieval",
        mount=mount,
        protocol="test side, all captions; 3 clips of 5 s averaged before normalising",
        licence="academic use (captions); recordings are their uploaders'",
        published={
            "text_to_audio_r1": {"ViT-Lens-L": 0.144, "ImageBind": 0.093},
            "text_to_audio_r10": {"ViT-Lens-L": 0.549, "ImageBind": 0.423},
        },
        preparation={"clips": 3},
        expected={"clip_s": 5.0},
    ),
)
