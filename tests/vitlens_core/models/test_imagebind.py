"""ImageBind: clips, still images as videos, scales, and what is refused."""

import pytest
import torch

from vitlens_core.errors import InputError
from vitlens_core.models.reference import build_imagebind

CONFIG = {
    "out_embed_dim": 12,
    "vision": {"embed_dim": 16, "blocks": 1, "heads": 2, "kernel": [2, 8, 8], "image_size": 32},
    "text": {"embed_dim": 16, "blocks": 1, "heads": 2, "context_length": 9, "vocab_size": 50},
    "audio": {
        "embed_dim": 24,
        "blocks": 2,
        "heads": 3,
        "kernel": 12,
        "stride": 6,
        "mel_bins": 40,
        "target_len": 70,
    },
    "depth": {"embed_dim": 16, "blocks": 1, "heads": 4, "kernel": 10, "image_size": 50},
    "imu": {"embed_dim": 16, "blocks": 1, "heads": 2, "kernel": 5, "channels": 4, "length": 60},
}
SIGNALS = {
    "vision": torch.randn(2, 3, 32, 32),
    "text": torch.randint(0, 50, (2, 9)),
    "audio": torch.randn(2, 3, 1, 40, 70),
    "depth": torch.randn(2, 1, 50, 50),
    "imu": torch.randn(2, 4, 60),
}
SCALES = {"vision": 1.0, "text": 1 / 0.07, "depth": 5.0, "imu": 5.0}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_imagebind(CONFIG).eval()


def test_other_sizes_give_one_embedding_per_sample(model):
    embeddings = model(SIGNALS)
    assert {name: tuple(e.shape) for name, e in embeddings.items()} == dict.fromkeys(
        SIGNALS, (2, 12)
    )


@pytest.mark.parametrize(("modality", "scale"), SCALES.items())
def test_embeddings_have_the_length_of_their_scale(model, modality, scale):
    lengths = model.embed(modality, SIGNALS[modality]).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((2,), scale))


def test_clips_are_scaled_one_by_one_and_then_averaged(model):
    clips = [model.embed("audio", SIGNALS["audio"][:, i]) for i in range(3)]
    torch.testing.assert_close(torch.stack(clips).norm(dim=-1), torch.full((3, 2), 20.0))
    averaged = model.embed("audio", SIGNALS["audio"])
    torch.testing.assert_close(averaged, torch.stack(clips).mean(0), atol=1e-5, rtol=0)
    assert (averaged.norm(dim=-1) < 20).all()


def test_a_still_image_is_a_video_of_equal_frames(model):
    image = SIGNALS["vision"]
    video = image[:, :, None].expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(
        model.embed("vision", video[:, None]), model.embed("vision", image), atol=1e-6, rtol=0
    )


def test_a_scale_is_clamped(model):
    scale = model.modality_postprocessors["depth"][1]
    original = scale.log_logit_scale.clone()
    scale.log_logit_scale.fill_(9.0)
    lengths = model.embed("depth", SIGNALS["depth"]).norm(dim=-1)
    scale.log_logit_scale.copy_(original)
    torch.testing.assert_close(lengths, torch.full((2,), 100.0))


def test_only_the_scale_of_text_is_trained(model):
    names = [name for name, _ in model.named_parameters() if "logit_scale" in name]
    assert names == ["modality_postprocessors.text.1.log_logit_scale"]


@pytest.mark.parametrize(
    ("modality", "shape", "message"),
    [
        ("thermal", (1, 1, 32, 32), "no tower for 'thermal'; choose from vision, text"),
        ("vision", (1, 3, 30, 32), r"\[B, 3, 32, 32\] or \[B, 3, 2, 32, 32\]"),
        ("audio", (1, 1, 70, 40), r"\[B, 1, 40, 70\]"),
        ("imu", (1, 4, 61), r"\[B, 4, 60\]"),
        ("text", (1, 8), r"\[B, 9\]"),
    ],
)
def test_other_signals_are_refused(model, modality, shape, message):
    with pytest.raises(InputError, match=message):
        model.embed(modality, torch.zeros(shape))
