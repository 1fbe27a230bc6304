"""The published recipes: every setting cited, schedules and sizes as published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest

from pipelines.lens.optimizer import learning_rate
from vitlens_core.models.reference import build_openshape_tower
from vitlens_core.models.reference_config import (
    DeepLensSizes,
    OpenShapeConfig,
    SetAbstractionSizes,
    TrimmedVitSizes,
)
from vitlens_core.models.sizes import only_sizes, open_clip_sizes, tower_sizes
from vitlens_core.models.tower import Tower
from vitlens_core.models.trunk import Trunk
from workflows.modalities import modality_names
from workflows.recipes import OURS, Recipe, recipes
from workflows.spec import load_workflow

DATA = Path(__file__).parents[1] / "parity" / "data"
EVERY = pytest.mark.parametrize("recipe", recipes(), ids=lambda r: f"{r.modality}-{r.name}")
# What no recipe may leave to a default that somebody changes.
STATED = {
    *("steps", "batch_size", "learning_rate", "warmup_steps", "schedule", "weight_decay"),
    *("betas", "epsilon", "gradient_clip", "loss", "image_weight", "text_weight", "temperature"),
    *("accumulation", "drop_path", "token_dropout", "mix_up", "precision"),
    *("rate_factors", "layer_decay", "label_positives", "ema_decay", "validate_every"),
}
# Data sets whose lists state no test split, so that a fraction is held out.
UNDIVIDED = {"ego4d_imu"}
# Tensors of ViT-Lens-L's published towers that were trained, by the beginning of their names.
BLOCKS = tuple(f"transformer.resblocks.{i}." for i in range(4))
LENS = ("visual_adapter.", "perceiver.")
TRAINED = {
    "point_cloud": ("pc", LENS),
    "audio": ("audio", (*LENS, "class_embedding")),
    "eeg": ("eeg", (*LENS, "class_embedding")),
    "depth": ("depth", (*LENS, *BLOCKS)),
    "tactile": (
        "tactile",
        ("conv1", "class_embedding", "positional_embedding", "ln_pre.", *BLOCKS),
    ),
}


@EVERY
def test_every_setting_is_cited_and_nothing_of_the_training_is_left_to_defaults(
    recipe: Recipe,
) -> None:
    config = load_workflow(recipe.modality).config(recipe.name)
    assert all(where.strip() for _, where in recipe.settings.values())
    assert {f"lens.train.{name}" for name in STATED} <= recipe.settings.keys()
    for path in recipe.settings:
        assert getattr(config, path.split(".")[0]) is not None
    # A deviation says why.
    ours = [where for _, where in recipe.settings.values() if where.startswith(OURS)]
    assert all(len(where) > len(OURS) + 10 for where in ours)


@EVERY
def test_what_is_held_out_of_training_is_stated(recipe: Recipe) -> None:
    """By default a third of the objects, and a quarter of the recordings, would be."""
    config = load_workflow(recipe.modality).config(recipe.name)
    data = config.source or config.objects
    assert "validation_fraction" in data.model_fields_set
    assert data.validation_fraction <= 0.02 or not config.objects.train_labelled
    if config.source is None:
        draws = config.objects.train_labelled
    else:
        draws = config.source.kind in UNDIVIDED or getattr(config.source, "train", "") == "all"
    assert ("held_out_fraction" in data.model_fields_set) is draws
    if draws:
        assert data.held_out_fraction <= 0.2


@EVERY
def test_the_schedule_has_the_published_length_and_rates(recipe: Recipe) -> None:
    train = load_workflow(recipe.modality).config(recipe.name).lens.train
    assert train.steps * train.batch_size == recipe.samples_seen
    highest = train.learning_rate
    if train.warmup_steps < train.steps:
        assert learning_rate(train.warmup_steps, train) == highest
    assert learning_rate(0, train) == pytest.approx(highest / train.warmup_steps)
    halfway = (train.steps + train.warmup_steps) // 2
    assert learning_rate(halfway, train) == pytest.approx(highest / 2, rel=1e-3)
    assert learning_rate(train.steps, train) == pytest.approx(0, abs=1e-12)


PUBLISHED = {
    ("vitlens-l", "point_cloud"): (5e-4, 10_000, 512, 200 * 1560),
    ("vitlens-l-shapenet", "point_cloud"): (5e-4, 10_000, 512, 200 * 81),
    ("vitlens-g", "point_cloud"): (1e-4, 10_000, 512, 160 * 1710),
    ("vitlens-g-nolvis", "point_cloud"): (1e-4, 10_000, 512, 160 * 1620),
    ("vitlens-l", "audio"): (2e-4, 10_000, 2048, 80 * 878),
    ("vitlens-l", "depth"): (2e-4, 10_000, 512, 100 * 516),
    ("vitlens-l", "tactile"): (2e-4, 10_000, 512, 80 * 7187),
    ("vitlens-l", "eeg"): (2e-4, 10_000, 512, 40 * 778),
    ("uni3d-g", "point_cloud"): (1e-3, 10_000, 384, 200 * 2160),
}


@pytest.mark.parametrize(("name", "modality"), PUBLISHED)
def test_rate_warm_up_batch_and_steps_are_the_published_ones(name: str, modality: str) -> None:
    train = load_workflow(modality).config(name).lens.train
    found = (train.learning_rate, train.warmup_steps, train.batch_size, train.steps)
    assert found == PUBLISHED[name, modality]


# --- sizes ----------------------------------------------------------------------------------


@cache
def _trunk(spec: str) -> Trunk:
    return open_clip_sizes(spec.removeprefix("open_clip:").partition("/")[0])


def _tower(recipe: Recipe) -> Tower:
    config = load_workflow(recipe.modality).config(recipe.name)
    return tower_sizes(config.tower(), _trunk(config.foundation.spec))


def _counts(tower: Any) -> tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in tower.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, t in sizes if not t)


def _published(tower: str, trained: tuple[str, ...]) -> tuple[int, int]:
    """Trained and frozen parameters of a published tower, by its tensors' names and shapes."""
    names = json.loads((DATA / "vitlensL_names.json").read_text())
    prefix = f"vitlens.{tower}."
    counted = [0, 0]
    for name, shape in names.items():
        short = name.removeprefix(prefix)
        if name.startswith(prefix) and not short.endswith(_BUFFERS):
            counted[0 if short.startswith(trained) else 1] += prod(shape)
    return counted[0], counted[1]


_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def _of_l() -> Iterator[Any]:
    for recipe in recipes():
        if recipe.name == "vitlens-l":
            yield pytest.param(recipe, id=recipe.modality)


@pytest.mark.parametrize("recipe", _of_l())
def test_parameters_of_l_are_those_of_the_published_tensors(recipe: Recipe) -> None:
    trained, frozen = _published(*TRAINED[recipe.modality])
    found = _counts(_tower(recipe))
    assert found[0] == trained + 1  # the logit scale, which is no tower's tensor there
    assert found[1] == frozen


@pytest.mark.parametrize(
    ("name", "depth", "skipped"), [("vitlens-g", 4, 16), ("vitlens-g-nolvis", 2, 0)]
)
def test_parameters_of_g_are_those_of_the_published_tower(
    name: str, depth: int, skipped: int
) -> None:
    """The tower for published checkpoints of G; its first two blocks and CLS are trained."""
    sizes = OpenShapeConfig(
        vit=TrimmedVitSizes(
            width=1664,
            heads=16,
            patch=14,
            image_size=224,
            embed_dim=1280,
            mlp_ratio=4.9231,
            layers_total=48,
            layers_skipped_first=skipped,
        ),
        lens=DeepLensSizes(
            num_latents=256,
            latent_dim=1664,
            latent_heads=16,
            latent_dim_head=104,
            cross_heads=1,
            cross_dim_head=104,
            depth=depth,
            self_per_cross_attn=1,
        ),
        tokenizer=SetAbstractionSizes(
            kind="pnsa",
            in_channel=6,
            radius=0.2,
            num_group=512,
            group_size=64,
            encoder_dims=256,
            trans_dim=256,
        ),
    )
    with only_sizes():
        published = build_openshape_tower(sizes)
    trained = (*LENS, "class_embedding", "transformer.resblocks.0.", "transformer.resblocks.1.")
    expected = [0, 0]
    for parameter_name, parameter in published.named_parameters():
        expected[0 if parameter_name.startswith(trained) else 1] += parameter.numel()
    recipe = next(r for r in recipes() if r.name == name)
    found = _counts(_tower(recipe))
    assert found == (expected[0] + 1, expected[1])


def test_tied_weights_are_counted_once() -> None:
    """ShapeNet's lens: layer 0, and one set of weights for the other three."""
    tied, whole = (
        _counts(
            _tower(next(r for r in recipes() if r.name == name and r.modality == "point_cloud"))
        )
        for name in ("vitlens-l-shapenet", "vitlens-l")
    )
    assert 0.5 < tied[0] / whole[0] < 0.55
    assert tied[1] == whole[1]


def test_uni3d_trains_a_whole_vit_of_a_billion() -> None:
    recipe = next(r for r in recipes() if r.name == "uni3d-g")
    trained, frozen = _counts(_tower(recipe))
    assert 1.00e9 < trained < 1.04e9  # its README: 1,017 M
    assert frozen == 0


@pytest.mark.parametrize("modality", modality_names())
@pytest.mark.parametrize("profile", ["full", "full-1gpu"])
def test_full_starts_from_a_published_recipe(modality: str, profile: str) -> None:
    """Its foundation is no demo's, and images are among its targets."""
    workflow = load_workflow(modality)
    assert workflow.profiles[profile]["recipe"] in {r.name for r in recipes()}
    config = workflow.config(profile)
    assert config.foundation.spec.startswith("open_clip:")
    assert config.lens.train.image_weight > 0


@pytest.mark.parametrize("modality", modality_names())
def test_full_has_eight_gpus_and_another_profile_one(modality: str) -> None:
    workflow = load_workflow(modality)
    assert workflow.config("full").resources.train_workers == 8
    assert workflow.config("full-1gpu").resources.train_workers == 1
    assert workflow.config("full-1gpu").lens.train.rows_per_forward(1) <= 64
