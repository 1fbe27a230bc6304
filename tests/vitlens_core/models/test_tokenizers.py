"""Tokenizers: what they promise about order, sampling, positions and refused signals."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.models.points import farthest_point_sample, gather_points
from vitlens_core.models.tokenizers import (
    PatchTokenizer,
    PointBertTokenizer,
    SeriesTokenizer,
    SetAbstractionTokenizer,
    SpectrogramTokenizer,
)
from vitlens_core.models.tokenizers.point_clouds import GroupEncoder

seeds = st.integers(0, 2**31)
quick = settings(deadline=None, max_examples=15)


def _point_bert(**overrides) -> PointBertTokenizer:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_groups": 6, "group_size": 5, "encoder_dim": 20, "width": 12}
    return PointBertTokenizer(**(sizes | overrides)).eval()


def _set_abstraction(**overrides) -> SetAbstractionTokenizer:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "num_groups": 6,
        "group_size": 5,
        "radius": 0.8,
        "encoder_dim": 20,
        "width": 12,
    }
    return SetAbstractionTokenizer(**(sizes | overrides)).eval()


def _clouds(seed: int, channels: int) -> torch.Tensor:
    return torch.randn(2, 40, channels, generator=torch.Generator().manual_seed(seed))


def _shuffled_after(clouds: torch.Tensor, fixed: int, seed: int) -> torch.Tensor:
    """The same clouds, their first `fixed` points in place, the others in another order."""
    generator = torch.Generator().manual_seed(seed)
    rest = fixed + torch.randperm(clouds.shape[1] - fixed, generator=generator)
    return torch.cat([clouds[:, :fixed], clouds[:, rest]], dim=1)


@pytest.mark.parametrize(
    ("tokenizer", "fixed"),
    [
        (_point_bert(), 1),
        (_point_bert(in_channels=6), 1),
        (_point_bert(presorted=True), 6),
        # A ball keeps its first points, so that order is irrelevant only if it keeps all.
        (_set_abstraction(group_size=40), 1),
        (_set_abstraction(group_size=40, presorted=True), 6),
    ],
)
@given(seed=seeds)
@quick
def test_the_order_of_points_is_irrelevant(tokenizer, fixed, seed):
    clouds = _clouds(seed, tokenizer.in_channels)
    tokens = tokenizer(clouds)
    shuffled = tokenizer(_shuffled_after(clouds, fixed, seed + 1))
    torch.testing.assert_close(shuffled, tokens, atol=1e-5, rtol=0)
    assert tokens.shape == (2, 6, 12)
    assert tokens.std() > 0.01


@pytest.mark.parametrize("build", [_point_bert, _set_abstraction])
def test_clouds_in_farthest_point_order_need_no_sampling(build):
    clouds = _clouds(0, 6)
    order = farthest_point_sample(clouds[..., :3], 40)
    presorted = build(in_channels=6, presorted=True)(gather_points(clouds, order))
    sampled = build(in_channels=6)(gather_points(clouds, order))
    torch.testing.assert_close(presorted, sampled)


def test_training_samples_from_a_random_point():
    clouds, tokenizer = _clouds(0, 3), _point_bert().train()
    centres = torch.stack([tokenizer.choose_centres(clouds) for _ in range(8)])
    assert len(centres.unique(dim=0)) >= 2


def test_evaluation_is_deterministic():
    tokenizer, clouds = _point_bert(), _clouds(0, 3)
    assert torch.equal(tokenizer(clouds), tokenizer(clouds))


@pytest.mark.parametrize("build", [_point_bert, _set_abstraction])
def test_colour_reaches_the_tokens(build):
    tokenizer, clouds = build(in_channels=6), _clouds(0, 6)
    grey = torch.cat([clouds[..., :3], torch.full_like(clouds[..., 3:], 0.4)], dim=-1)
    assert (tokenizer(clouds) - tokenizer(grey)).abs().max() > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_the_group_encoder_is_the_published_stack_of_convolutions(training):
    """Row-wise products and the shared half of the concatenation change nothing."""
    torch.manual_seed(0)
    encoder = GroupEncoder(6, 20).train(training)
    first = nn.Sequential(
        nn.Conv1d(6, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1)
    )
    second = nn.Sequential(
        nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, 20, 1)
    )
    first.load_state_dict(encoder.first_conv.state_dict())
    second.load_state_dict(encoder.second_conv.state_dict())
    groups = torch.randn(2, 4, 7, 6)
    points = first.train(training)(groups.flatten(0, 1).transpose(1, 2))
    beside = torch.cat([points.amax(2, keepdim=True).expand_as(points), points], dim=1)
    expected = second.train(training)(beside).amax(2).view(2, 4, 20)
    torch.testing.assert_close(encoder(groups), expected, atol=2e-5, rtol=0)


def test_patches_are_read_row_by_row():
    torch.manual_seed(0)
    tokenizer = PatchTokenizer(width=8, patch=4, size=(8, 12), in_channels=2)
    images = torch.randn(3, 2, 8, 12)
    tokens = tokenizer(images) - tokenizer.pos_emb
    assert tokens.shape == (3, 6, 8)
    for index, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        patch = images[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        expected = patch.flatten(1) @ tokenizer.conv1.weight.flatten(1).T
        torch.testing.assert_close(tokens[:, index], expected, atol=1e-5, rtol=0)


def test_patches_without_positions_are_the_convolution():
    tokenizer = PatchTokenizer(width=8, patch=4, size=(8, 8), in_channels=3, positions=False)
    images = torch.randn(1, 3, 8, 8)
    assert list(tokenizer.state_dict()) == ["conv1.weight"]
    torch.testing.assert_close(tokenizer(images).mT.unflatten(2, (2, 2)), tokenizer.conv1(images))


@given(mel_bins=st.integers(14, 60), frames=st.integers(14, 90), stride=st.integers(3, 14))
@quick
def test_spectrogram_patches_overlap_as_their_stride_says(mel_bins, frames, stride):
    tokenizer = SpectrogramTokenizer(
        width=4, patch=14, mel_bins=mel_bins, frames=frames, stride=(stride, 10)
    )
    tokens = tokenizer(torch.randn(2, frames, mel_bins))
    assert tokens.shape[1] == ((mel_bins - 14) // stride + 1) * ((frames - 14) // 10 + 1)


def test_spectrogram_tokens_run_along_time_first():
    torch.manual_seed(0)
    tokenizer = SpectrogramTokenizer(width=4, patch=14, mel_bins=28, frames=42, stride=(14, 14))
    spectrogram = torch.zeros(1, 42, 28)
    spectrogram[:, 14:28, :14] = 1  # second window of time, low frequencies
    touched = (tokenizer(spectrogram) - tokenizer.pos_emb).abs().sum(-1)[0] > 1e-6
    assert touched.tolist() == [False, True, False, False, False, False]


def test_series_windows_see_all_channels():
    torch.manual_seed(0)
    tokenizer = SeriesTokenizer(width=8, in_channels=3, length=20, window=4, stride=2)
    series = torch.randn(2, 3, 20)
    tokens = tokenizer(series) - tokenizer.pos_emb
    window = series[:, :, 2:6].flatten(1)
    expected = F.linear(window, tokenizer.proj.weight.flatten(1), tokenizer.proj.bias)
    assert tokens.shape == (2, 9, 8)
    torch.testing.assert_close(tokens[:, 1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("tokenizer", "shape", "message"),
    [
        (_point_bert(), (2, 40, 6), r"\[B, N, 3\], found \[2, 40, 6\]"),
        (_point_bert(), (2, 5, 3), "at least 6 points"),
        (_point_bert(presorted=True), (2, 5, 3), "at least 6 points"),
        (_set_abstraction(), (2, 40, 3), r"\[B, N, 6\]"),
        (
            PatchTokenizer(width=4, patch=4, size=(8, 8), in_channels=1),
            (2, 3, 8, 8),
            r"\[B, 1, 8, 8\]",
        ),
        (
            SpectrogramTokenizer(width=4, patch=4, mel_bins=8, frames=16, stride=(4, 4)),
            (2, 8, 16),
            r"\[B, 16, 8\]",
        ),
        (SeriesTokenizer(width=4, in_channels=3, length=20), (2, 3, 21), r"\[B, 3, 20\]"),
    ],
)
def test_other_signals_are_refused(tokenizer, shape, message):
    with pytest.raises(InputError, match=message):
        tokenizer(torch.zeros(shape))


def test_impossible_sizes_are_refused():
    with pytest.raises(ConfigError, match="at least xyz"):
        _point_bert(in_channels=2)
    with pytest.raises(ConfigError, match="shorter than a window of 16"):
        PatchTokenizer(width=4, patch=16, size=(8, 32), in_channels=1)
