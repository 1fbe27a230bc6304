"""The first layers of ImageBind's towers: one modality's signal in, tokens [B, T, D] out.

CLS is put first and the positional table is added; `imagebind.py` states each signal's shape.
Signals of other sizes than the config's are refused: nothing is resampled.

Axes: B batch, C channels, T tokens, D width.
Source: ImageBind (arXiv 2305.05665) §3.2 and appendix B.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitlens_core.errors import InputError
from vitlens_core.models.parameters import normal_parameter, token_embedding
from vitlens_core.models.reference_config import (
    AnyImageBindTower,
    ImageBindAudio,
    ImageBindImage,
    ImageBindImu,
    ImageBindText,
    ImageBindTower,
    ImageBindVision,
)
from vitlens_core.models.tokenizers.patches import check_shape, count_windows


class RepeatFrames(nn.Module):
    """Repeats an image as a short video, [B, C, frames, H, W]; videos pass unchanged."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        return x if x.ndim == 5 else x[:, :, None].expand(-1, -1, self.frames, -1, -1)


class Stem(nn.Module):
    """Projection of each patch, then a norm (except in vision)."""

    def __init__(self, proj: nn.Module, norm_width: int | None) -> None:
        super().__init__()
        self.proj = proj
        self.norm_layer = nn.Identity() if norm_width is None else nn.LayerNorm(norm_width)


class ConvStem(Stem):
    """Patches by convolution. [B, C, *size] → [B, T, D]."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm_layer(self.proj(x).flatten(2).transpose(1, 2))


class WindowStem(Stem):
    """Windows of all channels by a linear layer. [B, C, time] → [B, T, D]."""

    def __init__(self, channels: int, window: int, width: int) -> None:
        super().__init__(nn.Linear(channels * window, width, bias=False), width)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        # The published layer is linear over windows, where a convolution would do the same.
        windows = x.unfold(-1, self.window, self.window).transpose(1, 2)
        return self.norm_layer(self.proj(windows.flatten(2)))


def _position_table(tokens: int, width: int) -> nn.Parameter:
    return normal_parameter(1, tokens, width, std=width**-0.5)


class PositionTable(nn.Module):
    """Holds the table [1, 1 + T, D]; its published name has a level more than IMU's and text's."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.pos_embed = _position_table(tokens, width)


class GridPreprocessor(nn.Module):
    """Images and spectrograms. [B, *shape] → [B, 1 + T, D].

    Args:
        stem_name: `depth_stem` for depth, `rgbt_stem` for the others.
        shapes: shapes of a sample that are accepted.
        tokens: T.
    """

    def __init__(
        self,
        stem_name: str,
        stem: ConvStem,
        shapes: Sequence[tuple[int, ...]],
        tokens: int,
        width: int,
    ) -> None:
        super().__init__()
        self.stem_name = stem_name
        self.shapes = shapes
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        # By name, since the published name differs between modalities.
        self.add_module(stem_name, stem)
        self.pos_embedding_helper = PositionTable(1 + tokens, width)

    def forward(self, x: Tensor) -> Tensor:
        """Raises InputError on another shape."""
        if tuple(x.shape[1:]) not in self.shapes:
            expected = " or ".join(f"[B, {str(shape)[1:-1]}]" for shape in self.shapes)
            raise InputError(f"expected a batch of shape {expected}, found {list(x.shape)}")
        tokens = self.get_submodule(self.stem_name)(x)
        return _with_cls(self.cls_token, tokens) + self.pos_embedding_helper.pos_embed


class ImuPreprocessor(nn.Module):
    """Inertial series. [B, C, time] → [B, 1 + T, D]."""

    def __init__(self, sizes: ImageBindImu) -> None:
        super().__init__()
        self.shape = (sizes.channels, sizes.length)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.embed_dim))
        self.imu_stem = WindowStem(sizes.channels, sizes.kernel, sizes.embed_dim)
        tokens = count_windows(sizes.length, sizes.kernel, sizes.kernel)
        self.pos_embed = _position_table(1 + tokens, sizes.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Raises InputError on another number of channels or samples."""
        check_shape(x, *self.shape)
        return _with_cls(self.cls_token, self.imu_stem(x)) + self.pos_embed


class TextPreprocessor(nn.Module):
    """Token ids [B, T] → [B, T, D]; no CLS."""

    def __init__(self, sizes: ImageBindText) -> None:
        super().__init__()
        self.context_length = sizes.context_length
        self.token_embedding = token_embedding(sizes.vocab_size, sizes.embed_dim)
        self.pos_embed = _position_table(sizes.context_length, sizes.embed_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Raises InputError on another context length."""
        check_shape(ids, self.context_length)
        return self.token_embedding(ids) + self.pos_embed


def _with_cls(cls_token: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)


def _vision(sizes: ImageBindVision) -> GridPreprocessor:
    frames, height, width = sizes.kernel
    side = sizes.image_size
    conv = nn.Conv3d(3, sizes.embed_dim, sizes.kernel, sizes.kernel, bias=False)
    stem = ConvStem(nn.Sequential(RepeatFrames(frames), conv), norm_width=None)
    tokens = count_windows(side, height, height) * count_windows(side, width, width)
    shapes = ((3, side, side), (3, frames, side, side))
    return GridPreprocessor("rgbt_stem", stem, shapes, tokens, sizes.embed_dim)


def _one_channel(
    stem_name: str, sizes: ImageBindTower, kernel: int, stride: int, size: tuple[int, int]
) -> GridPreprocessor:
    conv = nn.Conv2d(1, sizes.embed_dim, kernel, stride, bias=False)
    rows, columns = (count_windows(length, kernel, stride) for length in size)
    stem = ConvStem(conv, norm_width=sizes.embed_dim)
    return GridPreprocessor(stem_name, stem, [(1, *size)], rows * columns, sizes.embed_dim)


def build_preprocessor(modality: str, sizes: AnyImageBindTower) -> nn.Module:
    """Build the first layers of `modality`, named as published."""
    match sizes:
        case ImageBindVision():
            return _vision(sizes)
        case ImageBindText():
            return TextPreprocessor(sizes)
        case ImageBindImu():
            return ImuPreprocessor(sizes)
        case ImageBindAudio(kernel=kernel, stride=stride):
            size = (sizes.mel_bins, sizes.target_len)
            return _one_channel("rgbt_stem", sizes, kernel, stride, size)
        case ImageBindImage(kernel=kernel, image_size=side):
            stem_name = "depth_stem" if modality == "depth" else "rgbt_stem"
            return _one_channel(stem_name, sizes, kernel, kernel, (side, side))
