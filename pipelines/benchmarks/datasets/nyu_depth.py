"""NYU Depth V2's test side; layout and licence in `source.datasets.nyu_depth`.

Protocol: 654 depth maps, ten classes. As ViT-Lens has it, a lens chooses among all kinds of
room, and each of those that are none of the nine counts as "others".
"""

from __future__ import annotations

from pipelines.benchmarks.base import Benchmark, Mounted, of_source
from pipelines.benchmarks.datasets.sun_rgbd import SCENE_TEMPLATES
from pipelines.source.datasets.nyu_depth import CLASSES, OTHERS, NyuDepth

# The kinds of room that NYU's own annotators named, beside the nine.
OTHER_KINDS = (
    "basement",
    "cafe",
    "computer lab",
    "conference room",
    "dinette",
    "exercise room",
    "foyer",
    "furniture store",
    "home storage",
    "indoor balcony",
    "laundry room",
    "office kitchen",
    "playroom",
    "printer room",
    "reception room",
    "student lounge",
    "study",
    "study room",
)


def mount(root: str) -> Mounted:
    return of_source(
        NyuDepth(root=root, validation_fraction=0), "depth", classes=(*CLASSES, *OTHER_KINDS)
    )


BENCHMARKS = (
    Benchmark(
        name="nyu_depth",
        title="NYU-D",
        modality="depth",
        task="classification",
        mount=mount,
        protocol="official test side, 27 kinds of room counted as ten classes, scene prompts",
        licence="none stated",
        published={"top1": {"ViT-Lens-L": 0.685, "ViT-Lens-G": 0.690, "ImageBind": 0.540}},
        templates=SCENE_TEMPLATES,
        merged={**{name: name for name in CLASSES}, **dict.fromkeys(OTHER_KINDS, OTHERS)},
    ),
)
