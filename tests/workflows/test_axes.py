"""Axes: every point they propose is a valid run, and what they do not take is refused."""

from __future__ import annotations

import itertools

import pytest

from vitlens_core.errors import ConfigError
from workflows.axes import AXES, points_of
from workflows.modalities import modality_names
from workflows.spec import load_workflow
from workflows.sweep import plan

POINTS = load_workflow("point_cloud")


def made(axis: str, *values: str, modality: str = "thermal") -> dict[str, tuple[str, ...]]:
    workflow = load_workflow(modality)
    points = points_of(axis, workflow, workflow.config("demo"), values)
    return {point.label: point.overrides for point in points}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("modality", modality_names())
def test_proposed_points_are_valid_and_differ_in_every_workflow(modality: str, axis: str) -> None:
    workflow = load_workflow(modality)
    base = workflow.config("demo")
    if refusal := AXES[axis].refusal(workflow, base):
        with pytest.raises(ConfigError, match=f"{modality} has no axis {axis}: {refusal[:12]}"):
            points_of(axis, workflow, base)
        return
    configs = [workflow.config("demo", p.overrides) for p in points_of(axis, workflow, base)]
    assert len(configs) >= 2
    assert all(one != other for one, other in itertools.combinations(configs, 2))
    assert base in configs, "a sweep shows what the profile itself does"


@pytest.mark.parametrize("modality", ["depth", "imu"])
def test_a_shared_foundation_is_swept_where_it_is_made(modality: str) -> None:
    with pytest.raises(ConfigError, match="shares the foundation of point_cloud"):
        made("foundation", modality=modality)


@pytest.mark.parametrize("axis", ["supervision", "recipe"])
def test_recordings_without_images_cannot_be_bound_to_images(axis: str) -> None:
    with pytest.raises(ConfigError, match=r"imu has no axis .*image_weight is 0"):
        made(axis, modality="imu")


def test_imagebinds_recipe_has_the_temperature_it_published_for_the_modality() -> None:
    stated = {name: made("recipe", modality=name)["imagebind"] for name in ("audio", "depth")}
    assert "lens.train.temperature=0.05" in stated["audio"]
    assert "lens.train.temperature=0.2" in stated["depth"]
    assert {"lens.train.text_weight=0", "lens.head=linear"} < set(stated["audio"])


def test_epochs_stretch_the_whole_schedule() -> None:
    train = POINTS.config("demo").lens.train
    stretched = points_of("epochs", POINTS, POINTS.config("demo"), ["1", "3"])[1]
    found = POINTS.config("demo", stretched.overrides).lens.train
    assert (found.steps, found.warmup_steps) == (3 * train.steps, 3 * train.warmup_steps)
    assert found.learning_rate == train.learning_rate


def test_negatives_are_compared_at_the_same_number_of_samples() -> None:
    few, banked, many = made("negatives", "48", "48+512", "192", modality="point_cloud").values()
    trains = [POINTS.config("demo", point).lens.train for point in (few, banked, many)]
    assert len({train.steps * train.batch_size for train in trains}) == 1
    sizes = [train.negatives and train.negatives.model_dump() for train in trains]
    assert sizes == [None, {"kind": "bank", "size": 512}, None]
    assert trains[2].learning_rate == pytest.approx(2 * trains[0].learning_rate)


def test_a_loss_keeps_what_the_profile_states_of_it_and_another_has_its_defaults() -> None:
    own = ("lens.train.loss={kind: sigmoid, initial_bias: -3}",)
    points = points_of("loss", POINTS, POINTS.config("demo", own))
    losses = {
        p.label: POINTS.config("demo", (*own, *p.overrides)).lens.train.loss.model_dump()
        for p in points
    }
    assert losses["info_nce"] == {"kind": "info_nce", "positives": "drawn"}
    assert losses["sigmoid"]["initial_bias"] == -3
    assert losses["decoupled+all"] == {"kind": "decoupled", "positives": "all"}
    drawn, every = points_of("loss", POINTS, POINTS.config("demo", own), ["sigmoid", "sigmoid+all"])
    both = [POINTS.config("demo", (*own, *p.overrides)).lens.train.loss for p in (drawn, every)]
    assert [loss.positives for loss in both] == ["drawn", "all"]
    assert both[1].model_copy(update={"positives": "drawn"}) == both[0]


def test_a_trunk_is_stated_whole() -> None:
    """Nothing of the profile's plan stays behind."""
    whole, some = made("trunk", "whole", "skip_first=8+unlock_cls").values()
    trunk = load_workflow("thermal").config("demo", whole).lens.trunk
    assert trunk == type(trunk)()
    trunk = load_workflow("thermal").config("demo", some).lens.trunk
    assert trunk == type(trunk)(skip_first=8, unlock_cls=True)


def test_a_clip_brings_its_own_sizes() -> None:
    clip, width = made("foundation", "open_clip:ViT-B-16/openai", "64").items()
    assert clip[0] == "open_clip:ViT-B-16/openai"
    found = load_workflow("thermal").config("demo", clip[1]).foundation
    assert (found.embed_dim, found.image_size_px) == (None, None)
    assert width == ("E 64", ("foundation.embed_dim=64",))
    workflow = load_workflow("thermal")
    with pytest.raises(ConfigError, match="64 is the width of a `lit` space"):
        points_of("foundation", workflow, workflow.config("full"), ["64", "128"])


def test_a_value_named_twice_is_one_point() -> None:
    assert list(made("temperature", "0.1", "learned", "0.1")) == ["0.1", "learned"]


@pytest.mark.parametrize(
    ("axis", "values", "expected"),
    [
        ("hed", (), "unknown axis 'hed'; did you mean head.*temperature"),
        ("head", ("linear", "conv"), "unknown value 'conv'.*frozen, linear, mlp"),
        ("head", ("linear",), "2 or more points; found linear.*frozen, linear, mlp"),
        ("recipe", ("vit-lens", "clip"), "unknown value 'clip'.*imagebind"),
        ("temperature", ("0.1", "hot"), "expected numbers above 0, and `learned`; found 'hot'"),
        ("batch", ("8", "2.5"), "expected samples per step; found '2.5'"),
        ("negatives", ("48", "0"), "expected samples per step, and with a bank.*found '0'"),
        ("negatives", ("48", "48+all"), "expected samples per step, and with a bank"),
        ("epochs", ("1", "inf"), "expected multiples .*; found 'inf'"),
        ("loss", ("sigmoid", "hinge"), "there are: decoupled, info_nce, sigmoid"),
        ("loss", ("sigmoid", "decoupled+some"), "with \\+all.*found 'decoupled\\+some'"),
        ("supervision", ("image", ""), "unknown value ''.*image\\+text"),
    ],
)
def test_a_mistake_is_refused_with_the_choices(
    axis: str, values: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        made(axis, *values)


def test_hard_negatives_and_dropped_tokens_are_axes() -> None:
    random, pairs = made("hard_negatives", "1", "2", modality="point_cloud").values()
    assert POINTS.config("demo", random).lens.train.hard_negatives is None
    grouped = POINTS.config("demo", pairs).lens.train.hard_negatives
    assert grouped is not None
    assert grouped.group == 2
    all_of_them, half = made("token_dropout", "0", "0.5", modality="point_cloud").values()
    assert POINTS.config("demo", all_of_them).lens.train.token_dropout == 0
    assert POINTS.config("demo", half).lens.train.token_dropout == 0.5


def test_seeds_make_points_of_one_value() -> None:
    point = points_of("loss", POINTS, POINTS.config("demo"), ["sigmoid", "info_nce"])[0]
    seeded = [point.with_seed(seed) for seed in (3, 4)]
    assert [p.label for p in seeded] == ["sigmoid, seed 3", "sigmoid, seed 4"]
    assert {p.value for p in seeded} == {"sigmoid"}
    assert not [o for p in seeded for o in p.overrides if "trunk" in o]
    assert [POINTS.config("demo", p.overrides).lens.train.seed for p in seeded] == [3, 4]


def test_efficiency_names_trunk_and_share() -> None:
    points = made("efficiency", "pretrained@25", "random@5", "whole@100")
    assert points["pretrained@25"] == ("lens.train.share=0.25", "lens.trunk.random=null")
    assert "lens.trunk.random=0" in points["random@5"]
    assert "lens.trunk.unlock_first=99" in points["whole@100"]
    for wrong in ("pretrained-25", "pretrained@25#1"):
        with pytest.raises(ConfigError, match="trunk@per cent"):
            made("efficiency", "pretrained@25", wrong)


def test_seeds_are_trained_one_after_the_other_and_draw_random_trunks_too() -> None:
    values = "pretrained@5,random@5"
    planned = plan(POINTS, "demo", ["lens.train.seed=4"], "efficiency", values, seeds=2)
    seen = [
        (point.value, config.lens.train.seed, config.lens.trunk.random)
        for point, config in planned.points
    ]
    assert seen == [
        ("pretrained@5", 4, None),
        ("random@5", 4, 4),
        ("pretrained@5", 5, None),
        ("random@5", 5, 5),
    ]
