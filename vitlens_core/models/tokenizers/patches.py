"""Tokenizers for signals on a grid: one token per patch or window, positions added.

    PatchTokenizer        images, depth maps, tactile images [B, C, H, W]
    SpectrogramTokenizer  mel spectrograms [B, frames, mel], overlapping patches (audio)
    SeriesTokenizer       multi-channel series [B, C, time] (EEG, IMU)

The positional table fixes the size of the signal; signals of another size are refused, and
nothing is resampled. Axes: B batch, C channels, T tokens, D width.
Source: ViT-Lens (arXiv 2311.16081) §3.2.
"""

from torch import Tensor, nn

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.models.parameters import normal_parameter


def count_windows(length: int, window: int, stride: int) -> int:
    """Count the windows that fit into `length` samples. Raises ConfigError if none does."""
    if length < window:
        raise ConfigError(
            f"a signal of {length} samples is shorter than a window of {window}; "
            "choose a smaller window or patch, or a longer signal"
        )
    return (length - window) // stride + 1


def check_shape(x: Tensor, *expected: int) -> None:
    """Raise InputError unless `x` has shape [B, *expected]."""
    if tuple(x.shape[1:]) != expected:
        wanted = ", ".join(str(size) for size in expected)
        raise InputError(f"expected a batch of shape [B, {wanted}], found {list(x.shape)}")


class PatchTokenizer(nn.Module):
    """Convolution over patches. [B, C, H, W] → [B, T, D], row by row.

    Args:
        size: (H, W).
        patch: side of a square patch.
        stride: (down, right) between patches; `patch` where None, so that they tile.
        positions: add a positional table [T, D] of its own. Without it the trunk's table is the
            only one (tactile).
    """

    def __init__(
        self,
        *,
        width: int,
        patch: int,
        size: tuple[int, int],
        in_channels: int,
        stride: tuple[int, int] | None = None,
        positions: bool = True,
    ) -> None:
        super().__init__()
        stride = stride or (patch, patch)
        self.in_channels = in_channels
        self.size = size
        # Without bias, as CLIP's own patch embedding, whose kernel touch starts from.
        self.conv1 = nn.Conv2d(in_channels, width, patch, stride, bias=False)
        rows, columns = (
            count_windows(s, patch, step) for s, step in zip(size, stride, strict=True)
        )
        self.num_tokens = rows * columns
        table = normal_parameter(self.num_tokens, width, std=width**-0.5)
        self.pos_emb = table if positions else None

    def forward(self, signal: Tensor) -> Tensor:
        """Raises InputError on another C, H or W."""
        check_shape(signal, self.in_channels, *self.size)
        tokens = self.conv1(signal).flatten(2).transpose(1, 2)
        return tokens if self.pos_emb is None else tokens + self.pos_emb


class SpectrogramTokenizer(PatchTokenizer):
    """Overlapping patches of a mel spectrogram. [B, frames, mel] → [B, T, D].

    Tokens run along time within a band of frequencies, then in the next band.

    Args:
        mel_bins, frames: size of the spectrogram.
        stride: (mel bins, frames) between patches.
    """

    def __init__(
        self, *, width: int, patch: int, mel_bins: int, frames: int, stride: tuple[int, int]
    ) -> None:
        super().__init__(
            width=width, patch=patch, size=(mel_bins, frames), in_channels=1, stride=stride
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Raises InputError on another number of frames or mel bins."""
        mel_bins, frames = self.size
        check_shape(signal, frames, mel_bins)
        # The kernel's rows run over mel bins, so that tokens of one band follow each other.
        return super().forward(signal.transpose(1, 2)[:, None])


class SeriesTokenizer(nn.Module):
    """Convolution over windows of a multi-channel series. [B, C, time] → [B, T, D].

    Args:
        in_channels: C.
        length: samples per channel.
        window, stride: in samples.
    """

    def __init__(
        self, *, width: int, in_channels: int, length: int, window: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.length = length
        self.proj = nn.Conv1d(in_channels, width, window, stride)
        num_tokens = count_windows(length, window, stride)
        self.pos_emb = normal_parameter(num_tokens, width, std=width**-0.5)

    def forward(self, series: Tensor) -> Tensor:
        """Raises InputError on another C or length."""
        check_shape(series, self.in_channels, self.length)
        return self.proj(series).transpose(1, 2) + self.pos_emb
