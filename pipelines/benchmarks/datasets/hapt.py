"""HAPT's published test people; layout and licence in `source.datasets.hapt`.

Protocol: windows of 5 s of twelve activities and changes of posture, nine people nobody trained
on. No zero-shot figure is published.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.hapt import Hapt


def mount(root: str) -> Mounted:
    return of_source(Hapt(root=root, validation_fraction=0), "imu")


BENCHMARKS = (
    Benchmark(
        name="hapt",
        title="HAPT",
        modality="imu",
        task="classification",
        mount=mount,
        protocol="published test people, windows of 5 s",
        licence="CC BY 4.0 (UCI); its README forbids commercial use",
    ),
)
