"""`vitlens plan`: what a run would take, for every profile, without doing any of it."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipelines.lens.chunked_loss import MOST_LOGITS
from pipelines.lens.parallel import parallelize
from pipelines.objects.mirror import LAYOUT_FOLDER, LVIS_ANNOTATIONS, OBJECT_PATHS, open_mirror
from pipelines.objects.records import RecordTable
from pipelines.objects.selection import select
from pipelines.store.home import Home
from pipelines.store.splits import SPLITS
from tests import tiny_hf
from vitlens_core.errors import ConfigError
from vitlens_core.models.sizes import tower_sizes
from workflows.cli import main
from workflows.modalities import modality_names
from workflows.planning.estimate import hours_of, stored_of, training_of
from workflows.planning.listing import OBJAVERSE, OBJAVERSE_LABELLED, counts_of, of_objects
from workflows.planning.network import (
    Network,
    foundation_sizes,
    is_bf16,
    memory_bytes,
    network_of,
)
from workflows.planning.plan import plan_of
from workflows.planning.slopes import FILE, read_slopes
from workflows.spec import load_workflow

SLOPES = read_slopes()
PROFILES = [(m, p) for m in modality_names() for p in load_workflow(m).all_profiles]
NETWORK = Network(
    trained=100,
    frozen=300,
    frozen_bytes=700,
    embed_dim=8,
    step_flops=1e9,
    image_flops=1e9,
    activation_bytes=1e6,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def synthetic_mirror(folder: Path, objects: int, labelled: int, classes: int = 1156) -> Path:
    """Annotation files of a mirror in Objaverse's layout, without any object."""
    layout = folder / LAYOUT_FOLDER
    layout.mkdir(parents=True)
    uids = [hashlib.md5(str(n).encode(), usedforsecurity=False).hexdigest() for n in range(objects)]
    paths = {uid: f"glbs/{n // 5000:03d}-000/{uid}.glb" for n, uid in enumerate(uids)}
    labels: dict[str, list[str]] = {}
    for number, uid in enumerate(uids[:labelled]):
        labels.setdefault(f"class {number % classes}", []).append(uid)
    for name, content in ((OBJECT_PATHS, paths), (LVIS_ANNOTATIONS, labels)):
        (layout / name).write_bytes(gzip.compress(json.dumps(content).encode(), 1))
    return folder


@pytest.mark.parametrize(
    ("objects", "labelled"),
    [(20_000, 1_200), pytest.param(800_000, 48_000, marks=pytest.mark.nightly)],
)
def test_full_trains_on_all_that_has_no_class_and_on_no_object_of_the_benchmark(
    tmp_path: Path, home: Home, objects: int, labelled: int
) -> None:
    """6 % are labelled. Without the last setting, as in `full` once, some 26,000 would train."""
    mirror = synthetic_mirror(tmp_path, objects, labelled)
    config = load_workflow("point_cloud").config("full", [f"objects.mirror={mirror}"]).objects
    counts = of_objects(config, home)
    assert counts.listed == objects
    assert counts.train == objects - labelled
    assert counts.val is not None
    assert counts.test is not None
    assert counts.val + counts.test == labelled
    opened = open_mirror(str(mirror), home.mirrors)
    benchmark = set(opened.labels())
    with RecordTable(opened.listed()) as records:
        selected = select(records, config)
    trained = selected.uids[selected.sides == SPLITS.index("train")]
    assert not benchmark & {uid.decode() for uid in trained}
    assert len(np.unique(selected.uids)) == objects


def test_recipes_with_lvis_objects_say_so(tmp_path: Path, home: Home) -> None:
    mirror = synthetic_mirror(tmp_path, 4_000, 2_400, classes=40)
    workflow, overrides = load_workflow("point_cloud"), [f"objects.mirror={mirror}"]
    with_lvis = plan_of(workflow, "vitlens-l", overrides, home, SLOPES)
    assert with_lvis.objects.train is not None
    assert with_lvis.objects.train > 1_600
    assert [s for s in with_lvis.implied if "seen in training" in s]
    without = counts_of(workflow.config("full", overrides), home, None)[0]
    assert without.train == 1_600
    triplets = plan_of(workflow, "vitlens-g-nolvis", (), home, SLOPES)
    assert triplets.hours.images_encoded == 0
    assert triplets.objects.train == 829_460


def _checked(modality: str, profile: str, home: Home) -> None:
    plan = plan_of(load_workflow(modality), profile, (), home, SLOPES)
    assert plan.training.samples_seen > 0
    assert plan.network.trained > 0
    assert plan.hours.train_gpu_hours > 0
    assert sum(plan.memory_bytes_per_gpu.values()) > 0
    assert plan.stored.lens_bytes == 4 * plan.network.trained
    known = (plan.objects.train is not None) == (plan.training.passes is not None)
    assert known


@pytest.mark.nightly
@pytest.mark.parametrize(("modality", "profile"), PROFILES)
def test_every_profile_can_be_planned(modality: str, profile: str, home: Home) -> None:
    _checked(modality, profile, home)


@pytest.mark.parametrize("modality", modality_names())
def test_the_smallest_profile_of_every_modality_can_be_planned(modality: str, home: Home) -> None:
    _checked(modality, "tiny", home)


def test_the_command_prints_json_that_begins_with_the_objects(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home.root))
    found = CliRunner().invoke(main, ["plan", "point_cloud", "--profile", "tiny", "--json"])
    assert found.exit_code == 0, found.output
    plan = json.loads(found.output)
    assert next(iter(plan)) == "objects"
    assert list(plan["objects"])[:4] == ["listed", "train", "val", "test"]
    assert plan["objects"]["listed"] == 224
    assert plan["training"]["steps"] == 3
    table = CliRunner().invoke(main, ["plan", "point_cloud", "--profile", "tiny"])
    assert "samples seen" in table.output


def test_a_data_set_that_is_not_there_is_missing_and_its_published_size_is_used(
    home: Home,
) -> None:
    workflow = load_workflow("depth")
    plan = plan_of(workflow, "vitlens-l", ["source.root=/nowhere/sunrgbd"], home, SLOPES)
    assert plan.objects.train == 5285
    assert plan.training.passes == pytest.approx(51_600 * 512 / 5285)
    assert any(said.startswith("data: ") for said in plan.missing)
    assert any(said.startswith("GPUs: 8") for said in plan.missing)


# --- estimates ------------------------------------------------------------------------------


def test_the_measured_slopes_of_the_demo_come_out_again(home: Home) -> None:
    """infra/scale.md: 502 kB of renders, 219 kB of shards, 134 kB of targets, .163 s an object."""
    config = load_workflow("point_cloud").config("demo")
    counts, missing = counts_of(config, home, None)
    assert (counts.listed, missing) == (224, [])
    network = Network(100, 300, 1200, 384, 1e9, 1e9, 1e6)  # the slopes are of embeddings of 384
    stored = stored_of(config, counts, network, SLOPES)
    assert stored.renders_bytes == pytest.approx(224 * 502e3, rel=0.05)
    assert stored.shards_bytes == pytest.approx(224 * 219e3, rel=0.05)
    assert stored.targets_bytes == pytest.approx(224 * 134e3, rel=0.15)
    hours = hours_of(config, counts, network, SLOPES)
    assert hours.render_core_hours == pytest.approx(224 * 0.163 / 3600)
    assert hours.images_encoded == 224 * 12
    training = training_of(config, counts)
    assert training.passes == pytest.approx(180 * 48 / 123)


def test_objaverse_is_counted_without_asking_a_server_if_it_does_not_answer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nothing listens there
    config = load_workflow("point_cloud").config("full")
    counts, missing = counts_of(config, home, None)
    assert counts.train == OBJAVERSE - OBJAVERSE_LABELLED
    assert len(missing) == 1


def test_memory_is_of_a_worker_and_shrinks_where_it_is_divided() -> None:
    workflow = load_workflow("point_cloud")
    whole = memory_bytes(workflow.config("vitlens-l"), NETWORK)
    assert whole["weights"] == 4 * 100 + 700
    assert whole["gradient, optimizer and average"] == 4 * 3 * 100
    assert whole["activations"] == 32 * 1e6  # 512 rows of 8 workers, two parts
    divided = ["lens.train.accumulation=8", "resources.sharding=fsdp"]
    parts = memory_bytes(workflow.config("vitlens-l", divided), NETWORK)
    assert parts["activations"] == 8 * 1e6
    assert parts["weights"] == whole["weights"] / 8
    assert whole["loss"] == 6 * 4 * 64 * 512 * 2  # of a worker's own rows, against two kinds
    for settings in (["lens.train.batch_size=32768"], ["lens.train.loss.positives=all"]):
        in_parts = memory_bytes(workflow.config("vitlens-l", settings), NETWORK)
        assert in_parts["loss"] == 6 * 4 * MOST_LOGITS


@pytest.mark.nightly
def test_frozen_weights_take_what_training_stores_of_them() -> None:
    """Frozen matrices are kept in bf16 where training runs in it, and trained ones never are."""
    config = load_workflow("eeg").config("vitlens-l")
    half, whole = (network_of(config, bf16=bf16) for bf16 in (True, False))
    assert (half.trained, half.frozen) == (whole.trained, whole.frozen)
    assert whole.frozen_bytes == 4 * whole.frozen
    # All but norms, biases and the patch embedding are matrices.
    assert 2 * half.frozen < half.frozen_bytes < 2.02 * half.frozen
    assert half.activation_bytes == whole.activation_bytes / 2
    tower = tower_sizes(config.tower(), foundation_sizes(config))
    parallelize(tower, config.resources.model_copy(update={"compile": False}), bf16=True)
    stored = sum(p.nbytes for p in tower.parameters() if not p.requires_grad)
    assert half.frozen_bytes == stored


@pytest.mark.parametrize(
    ("precision", "gpu", "expected"),
    [
        ("auto", "h100", True),
        ("auto", "v100", False),
        ("bf16", "v100", True),
        ("fp32", "h100", False),
    ],
)
def test_the_precision_is_that_of_the_settings_on_the_planned_gpu(
    precision: str, gpu: str, expected: bool
) -> None:
    stated = SLOPES.stated.model_copy(update={"gpu": gpu})
    slopes = SLOPES.model_copy(update={"stated": stated})
    settings = [f"lens.train.precision={precision}"]
    assert is_bf16(load_workflow("eeg").config("vitlens-l", settings), slopes) == expected


def test_operations_are_those_of_a_transformer() -> None:
    """ViT-L's image tower: 162 GFLOP a picture, as published for L/14 (81 GMAC)."""
    network = network_of(load_workflow("eeg").config("vitlens-l"), bf16=True)
    assert network.image_flops == pytest.approx(162e9, rel=0.02)
    # Backward through all of the trunk, weights of the lens alone: more than 2 × and less than 3 ×.
    assert 2 * network.image_flops < network.step_flops < 3 * network.image_flops


@pytest.mark.nightly
def test_dropped_tokens_and_recomputed_activations_show() -> None:
    workflow = load_workflow("eeg")
    plain = network_of(workflow.config("vitlens-l"), bf16=True)
    fewer = network_of(workflow.config("vitlens-l", ["lens.train.token_dropout=0.5"]), bf16=True)
    assert fewer.step_flops < 0.6 * plain.step_flops
    again = network_of(
        workflow.config("vitlens-l", ["resources.activation_checkpointing=true"]), bf16=True
    )
    assert again.activation_bytes < 0.2 * plain.activation_bytes


def test_one_s_own_slopes_are_read_and_others_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(FILE.read_text().replace("gpu: h100", "gpu: v100"))
    slower = read_slopes(mine).gpu_hours(1e18) / SLOPES.gpu_hours(1e18)
    assert slower == pytest.approx(989 / 125)
    mine.write_text(FILE.read_text().replace("gpu: h100", "gpu: h101"))
    with pytest.raises(ConfigError, match=r"h101.*did you mean h100"):
        read_slopes(mine)


PUBLISHED = ("foundation.embed_dim=null", "foundation.image_size_px=null")


def test_weights_that_are_not_here_are_missing(home: Home) -> None:
    spec = "open_clip:ViT-B-32/openai"
    plan = plan_of(
        load_workflow("point_cloud"), "demo", [f"foundation.spec={spec}", *PUBLISHED], home, SLOPES
    )
    assert [said for said in plan.missing if said.startswith(f"weights: {spec} ")]


@pytest.mark.parametrize("kind", ["clip", "siglip", "owlv2", "instructblip", "llava"])
def test_a_hugging_face_model_is_planned_by_its_config_alone(
    kind: str, home: Home, tmp_path: Path
) -> None:
    folder = tiny_hf.write(kind, tmp_path / kind)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    sets = [f"foundation.spec=hf:{folder}", *PUBLISHED, "lens.train.text_weight=0"]
    plan = plan_of(load_workflow("point_cloud"), "tiny", sets, home, SLOPES)
    assert plan.training.samples_seen > 0
    assert not [said for said in plan.missing if said.startswith("weights")]


def test_a_model_whose_blocks_need_values_is_refused(home: Home, tmp_path: Path) -> None:
    folder = tiny_hf.write("qwen2_vl", tmp_path / "qwen")
    sets = [f"foundation.spec=hf:{folder}", *PUBLISHED, "lens.train.text_weight=0"]
    with pytest.raises(ConfigError, match="no plan can be made of it"):
        plan_of(load_workflow("point_cloud"), "tiny", sets, home, SLOPES)


def test_a_hugging_face_model_that_is_not_here_cannot_be_planned(home: Home) -> None:
    sets = ["foundation.spec=hf:openai/clip-vit-base-patch32", *PUBLISHED]
    with pytest.raises(ConfigError, match=r"run `hf download openai/clip-vit-base-patch32 config"):
        plan_of(load_workflow("point_cloud"), "demo", sets, home, SLOPES)


def test_weights_of_a_trunk_of_its_own_are_looked_for_too(home: Home) -> None:
    missing = plan_of(load_workflow("point_cloud"), "uni3d-g", (), home, SLOPES).missing
    weights = [said for said in missing if said.startswith("weights: ")]
    assert len(weights) == 2
    assert "timm:eva_giant_patch14_560" in weights[1]
