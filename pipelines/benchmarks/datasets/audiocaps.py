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
    settings = AudioCaps(root=root, splits=("test",), missing="quarantine")
    mounted = of_source(settings, "audio")
    count = len(mounted.test)
    known = count in PUBLISHED_COUNTS
    note = f"{count} clips: {'one' if known else 'neither'} of the published 813 and 963"
    return replace(mounted, notes=(*mounted.notes, note))


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
