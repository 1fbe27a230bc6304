"""sources: data sets in their published layouts, one module each.

A new source is a module with one subclass of `SourceSettings` and its place in `Source`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.sources.audiocaps import AudioCaps
from pipelines.sources.audioset import AudioSet
from pipelines.sources.base import SourceSettings
from pipelines.sources.clotho import Clotho
from pipelines.sources.ego4d_imu import Ego4dImu
from pipelines.sources.esc50 import Esc50
from pipelines.sources.hapt import Hapt
from pipelines.sources.imagenet_eeg import ImagenetEeg
from pipelines.sources.llvip import Llvip
from pipelines.sources.manifest import Manifest
from pipelines.sources.nyu_depth import NyuDepth
from pipelines.sources.seglearn_watch import SeglearnWatch
from pipelines.sources.sun_rgbd import SunRgbd
from pipelines.sources.touch_and_go import TouchAndGo
from pipelines.sources.tuxpaint_stamps import TuxpaintStamps
from pipelines.sources.vggsound import VggSound
from pipelines.sources.webdataset_tars import WebdatasetTars

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
