"""LLVIP's test frames as crops; layout and licence in `source.datasets.llvip`.

Protocol: crops of people and of background in infrared. ImageBind's draws of the background were
never published: its figure is matched in kind, not crop by crop.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.llvip import BACKGROUND, PERSON, Llvip


def mount(root: str) -> Mounted:
    settings = Llvip(root=root, validation_fraction=0)
    return of_source(settings, "thermal", classes=(PERSON, BACKGROUND))


BENCHMARKS = (
    Benchmark(
        name="llvip",
        title="LLVIP",
        modality="thermal",
        task="classification",
        mount=mount,
        protocol="test frames, crops of people and of background",
        licence="LLVIP terms of use, non-commercial",
        published={"top1": {"ImageBind": 0.634}},
        caveat="background crops are drawn by us; ImageBind's were never published",
    ),
)
