"""Images: what of a picture reaches the foundation."""

import numpy as np
from PIL import Image

from tests.contracts.examples import Example, pixels
from tests.contracts.malformed import PICTURE_FILES, RGB
from tests.tiny_models import TinyFoundation
from vitlens_core.modalities.image import MODALITY

RNG = np.random.default_rng(0)
SIDE_PX = TinyFoundation().image_size_px

EXAMPLE = Example(
    raw=pixels(20, 30, 3),
    refused=(np.ones((20, 30, 3), np.float32), np.ones((20, 30, 4), np.uint8)),
    malformed=(
        *PICTURE_FILES,
        ("floats", RGB / 255, "uint8 in 0..255, found float64"),
        ("grey", RGB[..., 0], r"\[H, W, 3\], found \[32, 40\]"),
        ("channels first", RGB.transpose(2, 0, 1), r"found \[3, 32, 40\]"),
        ("no pixel", RGB[:0], r"found \[0, 40, 3\]"),
        ("a list", RGB.tolist(), "found list"),
    ),
)


def test_images_are_seen_as_clip_sees_them():
    """Short side resized, middle kept: exactly torchvision's transforms of CLIP."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    clip = Compose([Resize(SIDE_PX, interpolation=InterpolationMode.BICUBIC), CenterCrop(SIDE_PX)])
    for size in ((37, 61), (61, 37), (16, 16), (5, 9)):
        picture = RNG.integers(256, size=(*size, 3), dtype=np.uint8)
        expected = np.asarray(clip(Image.fromarray(picture)))
        np.testing.assert_array_equal(MODALITY.store(picture, SIDE_PX), expected)
