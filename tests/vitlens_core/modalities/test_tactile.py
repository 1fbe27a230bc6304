"""Touch: crops of a gel's picture."""

import numpy as np
import torch

from tests.contracts.examples import PATCHES, Example, pixels
from tests.contracts.malformed import PICTURE_FILES, RGB
from vitlens_core.modalities import tactile
from vitlens_core.row_generator import RowGenerator

EXAMPLE = Example(
    raw=pixels(20, 30, 3),
    refused=(np.ones((20, 30, 3), np.float32), np.ones((20, 30), np.uint8)),
    signal={"side_px": 18},
    tokenizer=PATCHES | {"crop_px": 16},
    lens={"kind": "identity"},
    malformed=(
        *PICTURE_FILES,
        ("floats", RGB / 255, "uint8"),
        ("grey", RGB[..., 0], r"found \[32, 40\]"),
        ("RGBA", np.concatenate([RGB, RGB[..., :1]], axis=2), r"found \[32, 40, 4\]"),
        ("no pixel", RGB[:, :0], r"found \[32, 0, 3\]"),
        ("16 bit", RGB.astype(np.uint16), "found uint16"),
    ),
)


def test_the_tower_of_touch_sees_the_middle_and_training_other_crops():
    signal, tokenizer = tactile.TactileSignal(side_px=16), tactile.TactileTokenizer(crop_px=14)
    stored = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    stored[:, 1:15, 1:15] = 255
    assert tokenizer.prepare(stored, signal).unique().numel() == 3  # one value per channel
    generator = RowGenerator.of("0", range(16))
    crops = tokenizer.augment(stored.expand(16, -1, -1, -1), signal, generator)
    assert crops.unique().numel() > 3
