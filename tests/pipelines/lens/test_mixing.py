"""Mix-up: rows mixed with their neighbours, the same on any number of workers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from pipelines.config import load_run_config
from pipelines.lens.batches import Batch
from pipelines.lens.mixing import mixed
from pipelines.lens.settings import TrainConfig
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.audio import AudioTokenizer
from vitlens_core.signals.spectrograms import log_mel

SOURCE = {"source": {"kind": "hapt", "root": "/data/hapt"}}


def _batch(rows: range) -> Batch:
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(64, 1, 52, 16, generator=generator) - 4
    targets = F.normalize(torch.randn(64, 6, generator=generator), dim=-1)
    numbers = torch.arange(64)
    chosen = slice(rows.start, rows.stop)
    return Batch(
        rows=rows,
        keys=[f"k{row}" for row in rows],
        signals=signals[chosen],
        targets={"text": targets[chosen]},
        label_ids=numbers[chosen],
        sample_ids=numbers[chosen],
    )


def test_a_part_of_the_rows_is_mixed_and_its_targets_with_it() -> None:
    whole = _batch(range(64))
    config = TrainConfig(mix_up=0.5)
    found = mixed(whole, config, AudioTokenizer(), step=3)
    changed = (found.signals != whole.signals).flatten(1).any(1)
    assert 0.25 < changed.float().mean() < 0.75
    assert torch.equal(changed, (found.targets["text"] != whole.targets["text"]).any(1))
    assert torch.allclose(found.targets["text"].norm(dim=-1), torch.ones(64))
    # A row's target is made of its own and of one of the three beside it, both with a share.
    for row in changed.nonzero()[:, 0].tolist():
        pair = whole.targets["text"][[row, row - row % 4 + (row + 1) % 4]]
        shares = torch.linalg.lstsq(pair.T, found.targets["text"][row]).solution
        torch.testing.assert_close(shares @ pair, found.targets["text"][row])
        assert (shares > 0).all()
    again = mixed(whole, config, AudioTokenizer(), step=3)
    assert torch.equal(again.signals, found.signals)
    other = mixed(whole, config, AudioTokenizer(), step=4)
    assert not torch.equal(other.signals, found.signals)
    assert mixed(whole, TrainConfig(), AudioTokenizer(), step=3) is whole


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_a_batch_is_mixed_the_same_on_any_number_of_workers(workers: int) -> None:
    config = TrainConfig(mix_up=0.7)
    whole = mixed(_batch(range(64)), config, AudioTokenizer(), step=1)
    size = 64 // workers
    parts = [
        mixed(_batch(range(i * size, (i + 1) * size)), config, AudioTokenizer(), step=1)
        for i in range(workers)
    ]
    assert torch.equal(torch.cat([part.signals for part in parts]), whole.signals)
    joined = torch.cat([part.targets["text"] for part in parts])
    torch.testing.assert_close(joined, whole.targets["text"])


def test_rows_whose_partner_is_elsewhere_stay_as_they_are() -> None:
    rows = range(61, 64)  # 63's partner is 60
    found = mixed(_batch(rows), TrainConfig(mix_up=1.0), AudioTokenizer(), step=0)
    same = (found.signals == _batch(rows).signals).flatten(1).all(1)
    assert same.tolist() == [False, False, True]


def test_a_mixture_of_spectrograms_is_that_of_the_mixed_waveforms() -> None:
    """Two tones in different bands: .05 of a logarithm, from their phases and leakage."""
    time_s = np.arange(8000) / 16_000
    low, high = (0.3 * np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (300, 3000))
    share = 0.3
    waveforms = np.stack([low, high, share * low + (1 - share) * high])
    one, other, expected = torch.from_numpy(log_mel(waveforms, 16_000, 32, 48))
    found = AudioTokenizer().mix(one[None, None], other[None, None], torch.tensor([share]))[0, 0]
    # Where there is sound at all; elsewhere the logarithm is of rounding errors.
    loud = expected > expected.max() - 8
    assert loud.any()
    assert (found - expected)[loud].abs().max() < 0.05


def test_a_missing_frame_is_the_other_s() -> None:
    one, other = torch.randn(1, 1, 4, 3), torch.randn(1, 1, 4, 3)
    one[:, :, 2:], other[:, :, 3:] = 0, 0
    found = AudioTokenizer().mix(one, other, torch.tensor([0.5]))
    assert torch.equal(found[:, :, 2], other[:, :, 2])
    assert not found[:, :, 3].any()


def test_a_modality_whose_signals_do_not_mix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lens\.train\.mix_up: two signals of imu"):
        load_run_config("imu", {}, SOURCE | {"lens": {"train": {"mix_up": 0.5}}})


def test_a_batch_is_not_changed_in_place() -> None:
    whole = _batch(range(64))
    kept = replace(whole, signals=whole.signals.clone())
    mixed(whole, TrainConfig(mix_up=1.0), AudioTokenizer(), step=0)
    assert torch.equal(whole.signals, kept.signals)


def test_all_targets_of_a_sample_are_not_mixed() -> None:
    with pytest.raises(ValidationError, match=r"state mix_up: 0, or loss\.positives: drawn"):
        TrainConfig.model_validate({"mix_up": 0.5, "loss": {"positives": "all"}})
