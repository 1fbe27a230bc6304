"""EEG: rates, and the part of a recording that is seen."""

import numpy as np
import torch

from tests.contracts.examples import Example, noise
from tests.contracts.malformed import File, file_of_array, file_of_bytes, no_file, with_one
from vitlens_core.modalities import eeg

RNG = np.random.default_rng(0)
EEG = RNG.normal(size=(128, 500)).astype(np.float32)

EXAMPLE = Example(
    raw=noise(4, 500),
    refused=(np.ones((4, 500)), np.ones((3, 500)), np.ones((4, 100))),
    signal={"channels": 4},
    tokenizer={"length": 32, "window": 4, "stride": 4, "width": 10},
    malformed=(
        ("absent", no_file("a.npy"), "found nothing"),
        ("two arrays", File("a.npz", lambda p: np.savez(p, a=EEG, b=EEG)), "found 2: a, b"),
        (
            "truncated",
            file_of_bytes("a.npy", b"\x93NUMPY\x01\x00"),
            "cannot be read as an array",
        ),
        ("negative rate", file_of_array("a.npy", EEG, rate_hz=-1), "found -1"),
        ("64 channels", EEG[:64], r"\[128, time\], found \[64, 500\]"),
        ("too short", EEG[:, :459], "460 samples or more"),
        ("flat", np.ones_like(EEG), "constant channels"),
        ("NaN", with_one(np.nan, EEG), "NaN or infinite"),
        ("booleans", EEG > 0, "found bool"),
        ("a batch", torch.zeros(2, 128, 500), r"found \[2, 128, 500\]"),
    ),
)


def test_eeg_is_cut_to_20_to_460_and_stretched_linearly_to_512():
    raw = np.tile(np.arange(500, dtype=np.float32), (128, 1))
    signal = eeg.EegSignal()
    stored = signal.store(raw)
    np.testing.assert_array_equal(stored[0], np.arange(20, 460))
    seen = eeg.EegTokenizer().prepare(torch.from_numpy(stored)[None], signal)
    position = (torch.arange(512) + 0.5) * 440 / 512 - 0.5
    assert seen.shape == (1, 128, 512)
    torch.testing.assert_close(seen[0, 5], 20 + position.clamp(0, 439), atol=1e-3, rtol=0)


def test_eeg_of_another_rate_becomes_1_khz(tmp_path):
    np.save(tmp_path / "a.npy", RNG.normal(size=(4, 250)))
    assert eeg.MODALITY.read(tmp_path / "a.npy", rate_hz=500).shape == (4, 500)
