"""Depth: how near each place of a picture is, as disparity.

Raw: disparity [H, W] in pixels, baseline × focal length ÷ depth; 0 where nothing was measured.
Stored: its middle square [S, S]. The tower sees it clipped to 0.01..75, divided by 75 and
normalised, through CLIP-sized patches and an identity lens.

Axes: B batch, H height, W width, S side.
Source: ViT-Lens (arXiv 2311.16081) §4.1; ImageBind (arXiv 2305.05665) appendix B.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from vitlens_core.errors import InputError
from vitlens_core.late import tokenizers, torch
from vitlens_core.modalities.base import LensedModality, Rendered, SignalConfig, TokenizerConfig
from vitlens_core.network_settings import LensSettings, TrunkSettings
from vitlens_core.readers.arrays import read_array
from vitlens_core.readers.formats import ARRAYS, PICTURES, identify
from vitlens_core.readers.pictures import read_counts
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.pictures import square_map

Unit = Literal["disparity_px", "m", "mm", "sun_rgbd"]

BASELINES_M = {"kv1": 0.075, "kv2": 0.075, "realsense": 0.095, "xtion": 0.095}
"""Distance between the two eyes of the cameras of SUN RGB-D."""

# Rendered objects have no stereo camera: a Kinect's baseline is assumed.
_RENDERED_BASELINE_M = 0.075
# Units that the numbers of a picture, by their type, and those of an array may have.
_UNITS_OF_PICTURES = {"uint16": ("mm", "sun_rgbd"), "int32": ("mm",)}
_UNITS_OF_NUMBERS = ("disparity_px", "m", "mm")
# The toolbox of SUN RGB-D cuts depth at this distance.
_SUN_RGBD_LIMIT_M = 8.0
_SMALLEST_PX, _LARGEST_PX = 0.01, 75.0
_MEAN, _STD = 0.0418, 0.0295


def decode_sun_rgbd(counts: np.ndarray) -> np.ndarray:
    """Decode uint16 of SUN RGB-D's PNGs, whose bits are rotated by 3, to metres of at most 8.

    Raises:
        InputError: the numbers are not uint16.
    """
    if counts.dtype != np.uint16:
        raise InputError(f"expected SUN RGB-D's 16-bit depth, found {counts.dtype}")
    # uint16 drops what leaves it on the left, so that the two shifts are a rotation.
    depth_mm = (counts >> 3) | (counts << 13)
    return np.minimum(depth_mm / 1000, _SUN_RGBD_LIMIT_M)


def disparity(depth_m: np.ndarray, focal_px: float | None, baseline_m: float | None) -> np.ndarray:
    """Turn planar depth [H, W] in metres into disparity in pixels; 0 (not measured) stays 0.

    Raises:
        InputError: a depth is negative, or a number of the camera is missing or not positive.
    """
    scale = _positive("focal_px", focal_px) * _positive("baseline_m", baseline_m)
    depth_m = raw_numbers(np.asarray(depth_m), "a depth map", "H", "W")
    if (depth_m < 0).any():
        raise InputError(f"expected depths of 0 and above, found {depth_m.min()} m")
    return np.divide(scale, depth_m, out=np.zeros_like(depth_m), where=depth_m > 0)


def _positive(name: str, value: float | None) -> float:
    if value is None or not 0 < value < np.inf:
        raise InputError(
            f"disparity needs the camera's {name} above 0, found {value}; "
            f"baselines known: {BASELINES_M}"
        )
    return value


class DepthSignal(SignalConfig):
    """The middle square of a disparity map."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1, -1)

    side_px: int = Field(224, ge=14, description="side of the stored square")

    def example(self) -> np.ndarray:
        """Return a floor that recedes: disparity falls from 60 to 2 pixels."""
        return np.linspace(2, 60, 240, dtype=np.float32)[:, None].repeat(320, axis=1)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Cut disparity [H, W] to a square, float32 [S, S]. Raises InputError, on negatives too."""
        values = raw_numbers(raw, "disparity", "H", "W")
        if (values < 0).any():
            raise InputError(f"expected disparities of 0 and above, found {values.min()}")
        # Cut before resizing, which would spread one huge value over its neighbours.
        return square_map(np.minimum(values, _LARGEST_PX), self.side_px)


class DepthTokenizer(TokenizerConfig[DepthSignal]):
    """Patches of one channel with a positional table of their own."""

    patch_px: int = Field(14, ge=1, description="side of a patch")
    width: int = Field(1024, ge=1, description="width of a token, equal to the trunk's")

    def build(self, signal: DepthSignal) -> tokenizers.PatchTokenizer:
        size = (signal.side_px, signal.side_px)
        return tokenizers.PatchTokenizer(
            width=self.width, patch=self.patch_px, size=size, in_channels=1
        )

    def prepare(self, signals: torch.Tensor, signal: DepthSignal) -> torch.Tensor:
        """Clip and normalise stored disparities [B, S, S] to [B, 1, S, S]."""
        maps = _checked(signals, signal)
        scaled = maps[:, None].clamp(_SMALLEST_PX, _LARGEST_PX) / _LARGEST_PX
        return (scaled - _MEAN) / _STD

    def augment(
        self, signals: torch.Tensor, signal: DepthSignal, generator: RowGenerator
    ) -> torch.Tensor:
        """Prepare [B, S, S] as [B, 1, S, S], as if the baseline were up to a quarter different.

        The geometry stays: the targets belong to the RGB picture as it is.
        """
        gain = generator.uniform(0.8, 1.25, len(signals), 1, 1)
        return self.prepare(_checked(signals, signal) * gain, signal)


def _checked(signals: torch.Tensor, signal: DepthSignal) -> torch.Tensor:
    return batch_of_numbers(signals, "disparity", signal.side_px, signal.side_px)


class Depth(LensedModality[DepthSignal]):
    """Depth: how near each place of a picture is, as disparity."""

    name = "depth"
    metric_prefix = "depth"
    templates = (
        "{}",
        "a depth map of {}.",
        "a depth image of {}.",
        "a depth photo of {}.",
        "a scene with {}.",
        "a room: {}.",
        "an indoor view of {}.",
        "this is {}, seen by a depth camera.",
    )
    signal_file = "disparity.npy"
    takes = (*PICTURES, *ARRAYS)
    Signal = DepthSignal
    Tokenizer = DepthTokenizer
    lens = LensSettings(kind="identity")
    trunk = TrunkSettings(unlock_first=4)
    renders_as = "view"

    def read(
        self,
        path: str | Path,
        *,
        unit: Unit = "disparity_px",
        focal_px: float | None = None,
        baseline_m: float | None = None,
    ) -> np.ndarray:
        """Read disparity [H, W] from a picture of measurements, or from an array.

        Args:
            unit: unit of the numbers in the file; 16-bit pictures hold mm or SUN RGB-D's rotated
                bits, float pictures and arrays any other.
            focal_px, baseline_m: of the camera, for every unit except disparity (`BASELINES_M`).

        Raises:
            InputError: the file cannot be read or has 8 bit, or the unit or the camera is missing
                or does not fit it.
        """
        path, content = identify(path, self.takes, "a depth map")
        is_array = content in ARRAYS
        stored = read_array(path) if is_array else read_counts(path)
        if not is_array and stored.dtype == np.uint8:
            raise InputError(
                f"expected measurements of 16 bit or floats in {path}, found 8 bit: such pictures "
                "are drawings of depth, without a unit"
            )
        units = _UNITS_OF_NUMBERS
        if not is_array:
            units = _UNITS_OF_PICTURES.get(stored.dtype.name, _UNITS_OF_NUMBERS)
        if unit not in units:
            raise InputError(
                f"{path} ({stored.dtype}) cannot hold unit {unit!r}: state one of "
                f"{', '.join(units)}, with the camera's focal_px and baseline_m where it is not "
                "disparity"
            )
        if unit == "disparity_px":
            return stored
        if unit == "sun_rgbd":
            return disparity(decode_sun_rgbd(stored), focal_px, baseline_m)
        return disparity(stored * {"m": 1.0, "mm": 0.001}[unit], focal_px, baseline_m)

    def from_render(self, signal: DepthSignal, rendered: Rendered) -> np.ndarray:
        """Make each view's disparity, as a Kinect in its place would measure it, [V, S, S]."""
        # float64 whatever the caller has: with float32 the last bits of the quotient differ.
        focal_px = np.float64(rendered.focal_px)
        maps = [disparity(depth, focal_px, _RENDERED_BASELINE_M) for depth in rendered.depth_m]
        return np.stack([signal.store(one) for one in maps])


MODALITY = Depth()
