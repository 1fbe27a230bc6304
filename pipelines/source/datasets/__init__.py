"""sources: data sets in their published layouts, one module each.

A new source is a module with one subclass of `SourceSettings` and its place in `Source`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.source.base import SourceSettings
from pipelines.source.datasets.audiocaps import AudioCaps
from pipelines.source.datasets.audioset import AudioSet
from pipelines.source.datasets.clotho import Clotho
from pipelines.source.datasets.ego4d_imu import Ego4dImu
from pipelines.source.datasets.esc50 import Esc50
from pipelines.source.datasets.hapt import Hapt
from pipelines.source.datasets.imagenet_eeg import ImagenetEeg
from pipelines.source.datasets.llvip import Llvip
from pipelines.source.datasets.manifest import Manifest
from pipelines.source.datasets.nyu_depth import NyuDepth
from pipelines.source.datasets.seglearn_watch import SeglearnWatch
from pipelines.source.datasets.sun_rgbd import SunRgbd
from pipelines.source.datasets.touch_and_go import TouchAndGo
from pipelines.source.datasets.tuxpaint_stamps import TuxpaintStamps
from pipelines.source.datasets.vggsound import VggSound
from pipelines.source.datasets.webdataset_tars import WebdatasetTars

__all__ = ["Source", "SourceSettings"]

Source = Annotated[
    AudioCaps
    | AudioSet
    | Clotho
    | Ego4dImu
    | Esc50
    | Hapt
    | ImagenetEeg
    | Llvip
    | Manifest
    | NyuDepth
    | SeglearnWatch
    | SunRgbd
    | TouchAndGo
    | TuxpaintStamps
    | VggSound
    | WebdatasetTars,
    Field(discriminator="kind"),
]
