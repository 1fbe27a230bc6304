"""SUN RGB-D's test side; layout and licence in `source.datasets.sun_rgbd`.

Protocol: 4,659 depth maps among 19 kinds of room, with prompts of rooms in our own words; the
published figures are of 19 others.
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.source.datasets.sun_rgbd import CLASSES, SunRgbd

SCENE_TEMPLATES = (
    "{}",
    "a photo of {}.",
    "an indoor photo of {}.",
    "a view of {}.",
    "a view into {}.",
    "the inside of {}.",
    "a room: {}.",
    "a scene: {}.",
    "a place used as {}.",
    "this place is {}.",
    "this picture shows {}.",
    "a picture taken inside {}.",
)


def mount(root: str) -> Mounted:
    return of_source(SunRgbd(root=root, validation_fraction=0), "depth", classes=CLASSES)


BENCHMARKS = (
    Benchmark(
        name="sun_rgbd",
        title="SUN-D",
        modality="depth",
        task="classification",
        mount=mount,
        protocol="official test side, 19 kinds of room, scene prompts",
        licence="none stated",
        published={"top1": {"ViT-Lens-L": 0.522, "ViT-Lens-G": 0.546, "ImageBind": 0.351}},
        templates=SCENE_TEMPLATES,
        caveat="published ViT-Lens-L was trained on depth whose bits were not rotated back",
    ),
)
