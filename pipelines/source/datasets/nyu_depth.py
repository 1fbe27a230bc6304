"""NYU Depth V2, as SUN RGB-D holds it: rooms seen by a Kinect, in the benchmark's ten classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pipelines.source.base import Pair, SourceSettings
from pipelines.source.datasets.sun_rgbd import SPLIT_FILE, official_sides, room_kind, scene_pair
from vitlens_core.errors import ConfigError

CLASSES = (
    "bathroom",
    "bedroom",
    "bookstore",
    "classroom",
    "dining room",
    "home office",
    "kitchen",
    "living room",
    "office",
)
OTHERS = "others"
_SCENES = "kv1/NYUdata/"


class NyuDepth(SourceSettings):
    """NYU Depth V2: depth and pictures of nine kinds of room, and "others".

    Layout: that of SUN RGB-D (`sun_rgbd`), of which only this is read:

        SUNRGBD/kv1/NYUdata/NYU0001…NYU1449/{image/*.jpg,depth_bfx/*.png,intrinsics.txt,scene.txt}
        SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat

    The form its own authors publish, nyu_depth_v2_labeled.mat, is not read: ViT-Lens takes NYU
    from SUN RGB-D, whose split keeps the official sides of NYU (795 for training, 654 for test).

    Protocol: 27 kinds of room become ten classes, of which "others" gathers 18; the kind itself
    stays the pair's name. ViT-Lens lets a model choose among the kinds and counts each of the 18
    as "others"; a prompt for the word "others" is a harder test. A lens trained on `sun_rgbd` has
    not seen these test pictures.

    Licence: none was found stated with the data; its authors ask to be cited.
    Source: Silberman, Hoiem, Kohli and Fergus, ECCV 2012; ViT-Lens (arXiv 2311.16081) §4.1.
    """

    modalities: ClassVar[tuple[str, ...]] = ("depth",)
    kind: Literal["nyu_depth"] = "nyu_depth"

    def pairs(self) -> Iterator[Pair]:
        folder = self.folder()
        sides = official_sides(folder)
        scenes = [scene for scene in sides if scene.startswith(_SCENES)]
        if not scenes:
            raise ConfigError(
                f"{folder / SPLIT_FILE} lists {len(sides)} scenes, none of them in {_SCENES}; "
                "expected the 1,449 of NYU Depth V2"
            )
        for scene in scenes:
            room = room_kind(folder, scene)
            label = room if room in CLASSES else OTHERS
            yield replace(scene_pair(folder, scene, sides[scene], label), name=room)
