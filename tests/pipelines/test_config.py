"""Settings of a run: layers, overrides, and what is said of every kind of mistake."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import RunConfig, load_run_config, merged, parse_override
from pipelines.registry.gates.threshold import Threshold
from vitlens_core import modalities
from vitlens_core.errors import ConfigError

BASE: dict[str, Any] = {
    "renders": {"size_px": 64, "points": 512},
    "signal": {"points": 512},
    "lens": {"tokenizer": {"points_seen": 256}, "train": {"steps": 10}},
    "gates": {"top1": {"metric": "zero_shot.top1", "min": 0.3}},
}


def load(*overrides: str, profile: dict[str, Any] | None = None) -> RunConfig:
    return load_run_config("point_cloud", BASE, profile or {}, overrides)


def test_layers_win_in_order_and_keep_what_they_do_not_name() -> None:
    config = load("lens.train.steps=30", profile={"lens": {"train": {"steps": 20, "seed": 7}}})

    assert (config.lens.train.steps, config.lens.train.seed) == (30, 7)
    assert config.renders.size_px == 64
    assert config.modality == "point_cloud"


def test_values_are_yaml() -> None:
    config = load(
        "objects.classes=[chair, lamp]", "objects.count=null", "lens.train.betas=[0.8,0.9]"
    )

    assert config.objects.classes == ("chair", "lamp")
    assert config.objects.count is None
    assert config.lens.train.betas == (0.8, 0.9)


def test_a_threshold_is_moved_by_the_name_of_its_gate() -> None:
    [gate] = load("gates.top1.min=0.1").gates.values()

    assert gate == Threshold(name="top1", metric="zero_shot.top1", min=0.1)


def test_signal_and_tokenizer_are_held_against_their_modality_before_any_work() -> None:
    tower = load("lens.tokenizer.groups=16", "signal.points=300").tower()
    assert (tower.tokenizer["groups"], tower.signal["points"]) == (16, 300)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("renders", ["'renders'", "section.key=value"]),
        ("=3", ["section.key=value"]),
        ("renders..size_px=3", ["section.key=value"]),
        ("renders.size_px=[1", ["not YAML"]),
        ("benchmarks.roots.esc5=/x", ["unknown benchmark 'esc5'", "did you mean esc50?"]),
        ("benchmarks.roots.esc50=/x", ["esc50 measures audio; the model has point_cloud"]),
        ("benchmarks.rootz=3", ["benchmarks.rootz: unknown key", "did you mean roots"]),
        ("rendrs.size_px=3", ["rendrs: unknown key", "did you mean renders", "there are: objects"]),
        ("renders.size=3", ["renders.size: unknown key", "did you mean size_px", "azimuths"]),
        ("steps=5", ["steps: unknown key", "lens.train.steps", "foundation.fit.steps"]),
        ("foundation.fit.stepz=1", ["foundation.fit.stepz", "there are: steps"]),
        ("lens.tokenizer.group=4", ["lens.tokenizer.group: unknown key", "groups or group_size"]),
        ("lens.tokenizer=3", ["lens.tokenizer", "found 3"]),
        ("lens=3", ["lens: expected a section", "found 3"]),
        ("lens=null", ["lens: expected a section", "found None"]),
        ("renders.size_px=big", ["renders.size_px: expected", "integer", "found 'big'"]),
        ("renders.size_px=8", ["renders.size_px: expected", "greater than or equal to 16"]),
        ("renders.size_px={a: 1}", ["renders.size_px: expected", "{'a': 1}"]),
        ("renders.renderer=blender", ["'rasterizer' or 'cycles'", "found 'blender'"]),
        ("objects.classes=chair", ["objects.classes: expected a list, such as [a, b]"]),
        ("lens.train.betas=[0.9]", ["lens.train.betas.1: missing"]),
        ("lens.train.learning_rate=.nan", ["lens.train.learning_rate: expected"]),
        ("foundation=3", ["foundation: expected a section with the keys spec", "found 3"]),
        (
            "lens.train.loss=infonce",
            ["lens.train.loss.kind: unknown loss", "did you mean info_nce"],
        ),
        ("lens.train.loss.kind=3", ["lens.train.loss.kind: unknown loss '3'"]),
        ("lens.train.loss=null", ["lens.train.loss: expected a section with the keys kind"]),
        ("lens.train.loss.bias=1", ["lens.train.loss.bias: unknown key", "there are: kind"]),
        (
            "lens.train.loss={kind: sigmoid, bias: 1}",
            [
                "lens.train.loss.bias: unknown key",
                "there are: kind, positives, initial_scale, initial_bias",
            ],
        ),
        ("lens.train.negatives=bank", ["lens.train.negatives.size: missing"]),
        ("lens.train.negatives.size=3", ["lens.train.negatives.kind: missing; there are: bank"]),
        ("source=3", ["source: expected a section", "found 3"]),
        ("source.kind=esc5", ["source.kind: unknown source 'esc5'", "did you mean esc50"]),
        ("source={kind: esc50, rooot: /x}", ["source.rooot: unknown key", "did you mean root"]),
        ("gates.recall.min=0.5", ["unknown gate 'recall'", "there are: top1"]),
        ("gates.top1.minimum=0.5", ["there are: kind, metric, min, max"]),
        ("gates.top1.max=0.5", ["gates.top1: ", "either `min` or `max`"]),
        ("gates.top1.kind=thresh", ["gates.top1.kind: unknown gate", "did you mean threshold"]),
        ("gates.top1=3", ["gates.top1: expected a section", "found 3"]),
        ("gates.top1.name=best", ["a gate is named by its key"]),
        ("gates=3", ["gates: expected", "found 3"]),
        ("modality=audio", ["modality: this is an argument of the run"]),
        ("lens.modality=audio", ["lens.modality: unknown key"]),
        ("signal.point=4", ["signal.point: unknown key", "did you mean points"]),
        ("signal.points=3", ["signal.points: expected", "greater than or equal to 16"]),
        ("signal=3", ["signal: expected a section", "found 3"]),
        (
            "lens.tokenizer.points_seen=600",
            ["lens.tokenizer.points_seen", "600 points", "only 512"],
        ),
        ("signal.points=600", ["signal.points: 600 points", "only 512 are sampled"]),
        ("renders.polar_deg=[200]", ["renders.polar_deg (200.0,): expected angles"]),
        ("foundation=models:/a@b", ["foundation.spec: models:/a@b is a lens", "teachers.<name>="]),
        (
            "teachers={Depth: models:/a@b}",
            ["teachers: 'Depth': a teacher's name has"],
        ),
        ("teachers.depth=lit:a+b", ["teachers: depth: expected a registered lens, models:/…"]),
        ("objects.uids=/no/such/file", ["objects.uids: no readable file of uids"]),
    ],
)
def test_a_mistake_names_its_path_and_what_is_valid(override: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(override)

    for words in expected:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["lens.train.image_weight=0", "lens.train.text_weight=0"], "nothing to train against"),
        (["lens.train.teacher_weights.depth=2"], "unknown teacher 'depth'"),
        (
            ["teachers.depth=models:/a@b", "lens.train.teacher_weights.dept=2"],
            "unknown teacher 'dept'.*depth",
        ),
    ],
)
def test_settings_that_cannot_work_together_are_refused(
    overrides: list[str], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        load(*overrides)


def test_a_teacher_may_be_all_there_is_to_train_against() -> None:
    spec = "models:/vitlens-depth@champion"
    neither = ("lens.train.image_weight=0", "lens.train.text_weight=0")
    config = load(f"teachers.depth={spec}", *neither)
    assert config.teachers == {"depth": spec}
    assert config.lens.train.weights(config.teachers) == {"teacher_depth": 1}


def test_each_teacher_has_its_weight() -> None:
    config = load(
        "teachers={depth: models:/a@b, sound: models:/c/1, touch: models:/d/1}",
        "lens.train.teacher_weights={sound: .5, touch: 0}",
        "lens.train.text_weight=0",
    )
    weights = config.lens.train.weights(config.teachers)
    assert weights == {"image": 1, "teacher_depth": 1, "teacher_sound": 0.5}


def test_a_gate_cannot_take_the_name_of_one_that_every_modality_has() -> None:
    base = {"gates": {"sanity": {"metric": "zero_shot.top1", "min": 0.3}}}
    with pytest.raises(ConfigError, match=r"gates\.sanity: every modality has a gate of this name"):
        load_run_config("point_cloud", base, {})


def test_every_mistake_is_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load("renders.size_px=big", "objects.cuont=3")

    assert len(str(caught.value).splitlines()) == 2


def test_an_unknown_modality_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"point_clod.*point_cloud"):
        load_run_config("point_clod", BASE, {})


def test_only_what_objects_give_needs_no_source() -> None:
    with pytest.raises(ConfigError, match="rendered objects give depth and point_cloud, not imu"):
        load_run_config("imu", {}, {})
    assert load_run_config("depth", {}, {}).source is None


def test_points_of_a_source_are_not_held_against_those_of_objects(tmp_path: Path) -> None:
    source = {"source": {"kind": "manifest", "root": str(tmp_path)}}
    many = {"signal": {"points": 20_000}}
    assert load_run_config("point_cloud", source, many).source is not None
    with pytest.raises(ConfigError, match=r"20000 points of an object .* only 10000 are sampled"):
        load_run_config("point_cloud", {}, many)
    seen = {"lens": {"tokenizer": {"points_seen": 20_000}}}
    with pytest.raises(ConfigError, match="the tower would see 20000 points, but only 10000"):
        load_run_config("point_cloud", source, seen)


_LIGHTLY = """
import sys
from pipelines.config import load_run_config
from pipelines.flow import STEPS, settings_of
config = load_run_config("point_cloud", {}, {})
told = [settings_of(step, config) for step in STEPS]
print(*({"torch", "ray", "timm", "mlflow", "dagster"} & set(sys.modules)))
"""


def test_settings_of_every_step_are_checked_without_torch_and_ray() -> None:
    command = [sys.executable, "-c", _LIGHTLY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


_KEYS = st.sampled_from(["a", "b", "lens", "renders", "size_px", "train", "steps", "gates", "top1"])
_VALUES = st.sampled_from(["1", "x", "[1, 2]", "{a: 1}", "null", "true", "-0.5", "''"])


@given(st.lists(_KEYS, min_size=1, max_size=4), _VALUES)
def test_no_override_ever_raises_anything_else(keys: list[str], value: str) -> None:
    with contextlib.suppress(ConfigError):
        load(f"{'.'.join(keys)}={value}")


_TREES = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_LAYERS = st.dictionaries(st.sampled_from("abc"), _TREES, max_size=3)


@given(_LAYERS, _LAYERS)
def test_merging_never_changes_its_layers_and_the_last_one_stands(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    before = repr((first, second))
    result = merged([first, second])

    assert repr((first, second)) == before
    assert merged([result, second]) == result
    assert set(result) == set(first) | set(second)


def test_an_override_is_a_path_and_a_value() -> None:
    assert parse_override("a.b=c=d") == {"a": {"b": "c=d"}}


@pytest.mark.parametrize("name", modalities.lensed())
def test_what_is_not_stated_of_the_network_is_as_published(name: str) -> None:
    """Sections are merged key by key with the modality's own, not with those of point clouds."""
    known = modalities.load_lensed(name)
    stated: dict[str, Any] = {"lens": {"lens": {"latents": 64}}}
    tower = load_run_config(name, {"source": {"kind": "manifest", "root": "x"}}, stated).tower()
    assert tower.lens == known.lens.model_copy(update={"latents": 64})
    assert tower.trunk == known.trunk


def test_weights_of_mirrors_name_mirrors() -> None:
    given = {"objects": {"more": {"parts": {"mirror": "x"}}}}
    with pytest.raises(ConfigError, match=r"^lens.train.mirror_weights: .*did you mean parts"):
        load_run_config("point_cloud", given, {"lens": {"train": {"mirror_weights": {"prts": 2}}}})
    weights = {"lens": {"train": {"mirror_weights": {"parts": 2}}}}
    assert load_run_config("point_cloud", given, weights).lens.train.mirror_weights == {"parts": 2}
