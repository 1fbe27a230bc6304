"""Ego4D's IMU, windows of 5 s by scenario; layout and licence in `source.datasets.ego4d_imu`.

Protocol: windows of videos with one scenario, a quarter of the videos held out. ImageBind's list
of clips is not published, so its figure stands beside for the order of magnitude only.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.ego4d_imu import Ego4dImu
from vitlens_core.errors import ConfigError


def mount(root: str) -> Mounted:
    mounted = of_source(Ego4dImu(root=root, validation_fraction=0), "imu")
    if not mounted.classes:
        raise ConfigError(f"{root}: no video has exactly one scenario; ego4d.json states them")
    return mounted


BENCHMARKS = (
    Benchmark(
        name="ego4d_imu",
        title="Ego4D IMU",
        modality="imu",
        task="classification",
        mount=mount,
        protocol="windows of 5 s by scenario, a quarter of the videos held out",
        licence="Ego4D licence agreement",
        published={"top1": {"ImageBind": 0.250}},
        caveat="ImageBind's list of clips is not published: not comparable",
    ),
)
