"""What can be known before a run is said before it, and each place is blamed by its own name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipelines.registry import server
from tests import tiny_hf
from tests.workflows.stage import Stage
from workflows import places
from workflows.spec import load_workflow

ROWS = [("a", "train"), ("a", "val"), ("a", "test"), ("b", "train"), ("b", "val"), ("b", "test")]


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    server.require_answer.cache_clear()


@pytest.fixture
def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def manifest(folder: Path, columns: str = "signal,image,label,split", test: str = "test") -> str:
    """A data set with the named columns; its files are empty, since none may be opened."""
    folder.mkdir()
    lines = [columns]
    for number, (label, split) in enumerate(ROWS):
        cells = {
            "signal": f"{number}.npy",
            "image": f"{number}.png",
            "label": label,
            "split": split.replace("test", test),
            "text": f"number {number}",
        }
        lines.append(",".join(cells[name] for name in columns.split(",")))
        for name in (cells["signal"], cells["image"]):
            (folder / name).touch()
    (folder / "manifest.csv").write_text("\n".join(lines))
    return f"source.root={folder}"


def run(stage: Stage, *more: str) -> tuple[int, str]:
    result = stage.vitlens("run", "point_cloud", "--profile", "tiny", *more)
    return result.exit_code, result.output


def test_a_foundation_without_words_is_trained_against_images_alone(
    stage: Stage, tmp_path: Path
) -> None:
    """Refused before anything is encoded, by what to set."""
    spec = f"hf:{tiny_hf.write('llava', tmp_path / 'llava')}"
    code, said = run(stage, "--set", f"foundation.spec={spec}")
    assert code == 2
    assert "lens.train.text_weight: the foundation" in said
    assert "set it to 0" in " ".join(said.split())
    assert stage.asked == []


def test_a_tracking_server_that_does_not_answer_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port}")
    code, said = run(stage)
    assert code == 3
    assert f"the tracking server at MLFLOW_TRACKING_URI=http://127.0.0.1:{closed_port}" in said
    assert stage.asked == []


def test_a_ray_cluster_that_does_not_answer_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{closed_port}")
    code, said = run(stage, "--set", "resources.render_workers=1")
    assert code == 3
    assert f"no Ray cluster answers at RAY_ADDRESS=ray://127.0.0.1:{closed_port}" in said
    assert stage.asked == []


def test_a_ray_address_that_a_run_does_not_use_is_remarked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    code, said = run(stage)
    assert code == 0
    unused = "is not used: resources.render_workers, encode_workers and train_workers are 0"
    assert unused in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("asked", "gpus", "message"),
    [
        (("train_workers=1", "train_gpus=1"), 0, "take 1 GPUs (1 each), this machine has 0"),
        (("train_workers=2", "train_gpus=1"), 1, "take 2 GPUs (1 each), this machine has 1"),
        (("encode_workers=1", "encode_gpus=0.5"), 0, "take 0.5 GPUs"),
        (("train_gpus=1",), 0, "train_gpus=1 with train_workers=0: this process is to work on"),
        (("encode_gpus=0.5",), 0, "encode_gpus=0.5 with encode_workers=0: this process is"),
        (("cpus=2", "render_workers=5"), None, "take 2.5 CPUs (0.5 each), this machine has 2"),
    ],
)
def test_what_this_machine_lacks_is_said_before_the_first_step(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, ...],
    gpus: int | None,
    message: str,
) -> None:
    """Only the last step may open Ray, hours later. GPUs are counted if any is asked for."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(places, "count_gpus", lambda: _counted(gpus))
    sets = [part for setting in asked for part in ("--set", f"resources.{setting}")]
    code, said = run(stage, *sets)
    assert code == 2
    assert message in " ".join(said.split())
    assert stage.asked == []


def _counted(gpus: int | None) -> int:
    assert gpus is not None, "nobody asks for a GPU"
    return gpus


@pytest.mark.parametrize(
    ("asked", "cluster"),
    [
        (("train_workers=2", "train_gpus=1"), False),
        (("train_gpus=1", "encode_gpus=0.5"), False),
        (("train_workers=64", "train_gpus=1", "encode_workers=999"), True),
    ],
)
def test_what_there_is_or_a_cluster_may_have_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], cluster: bool
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(places, "count_gpus", lambda: _counted(None if cluster else 2))
    if cluster:
        monkeypatch.setenv("RAY_ADDRESS", "auto")
    given = [f"resources.{setting}" for setting in asked]
    config = load_workflow("point_cloud").config("tiny", given)
    places.require_hardware(config.resources)


def test_gpus_are_counted_without_torch_here() -> None:
    import torch

    assert places.count_gpus() == torch.cuda.device_count()


def test_a_store_that_cannot_be_written_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VITLENS_STORE", str(tmp_path / "file" / "store"))
    code, said = run(stage)
    assert code == 3
    assert "VITLENS_STORE: " in said
    assert stage.asked == []


def test_a_run_that_needs_more_than_is_free_is_refused(stage: Stage) -> None:
    code, said = run(stage, "--set", f"objects.count={10**12}")
    assert code == 3
    assert "GB free, and this run needs about" in said
    assert stage.asked == []


@pytest.mark.parametrize(
    ("columns", "test", "message"),
    [
        ("signal,image,label,split", "train", "no pair for test (4 for train, 2 for val"),
        ("signal,label,split", "test", "no training pair has an image"),
        ("signal,label,split", "test", "no training pair has both"),
        ("signal,image,split", "test", "no training pair has a text or a label"),
        ("signal,image,text,split", "test", "no pair has a label"),
    ],
)
def test_a_data_set_that_lacks_what_the_run_asks_for_is_refused_before_it(
    stage: Stage, tmp_path: Path, columns: str, test: str, message: str
) -> None:
    root = manifest(tmp_path / "mine", columns, test)
    code, said = run(stage, "--set", "source.kind=manifest", "--set", root)
    assert code == 2
    assert message in said.replace("\n", " ")
    assert stage.asked == []


def test_what_a_source_holds_is_said_by_split_and_label(stage: Stage, tmp_path: Path) -> None:
    root = manifest(tmp_path / "mine")
    _, said = run(stage, "--set", "source.kind=manifest", "--set", root, "--dry-run")
    assert "6 pairs (2 train, 2 val, 2 test); 6 with images" in said.replace("\n", " ")
    assert "labels: a 3, b 3" in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"min_samples": 3}, "held-out samples: 2, and at least 3 are asked for (min_samples)"),
        ({"min_groups": 5}, "held-out groups: 2, and at least 5"),
        ({"min_classes": 3}, "classes: 2, and at least 3"),
        ({"min_samples": 2, "min_groups": 2, "min_classes": 2}, ""),
    ],
)
def test_that_the_gate_of_few_samples_will_fail_is_said_before_the_work(
    stage: Stage, tmp_path: Path, asked: dict[str, int], said: str
) -> None:
    least = {"min_samples": 1, "min_groups": 1, "min_classes": 1} | asked
    words = [f"acceptance.held_out.{name}={value}" for name, value in least.items()]
    words += ["source.kind=manifest", manifest(tmp_path / "mine")]
    code, found = run(stage, *(part for word in words for part in ("--set", word)), "--dry-run")
    found = found.replace("\n", " ")
    assert code == 0
    assert ("as the gate held_out fails" in found) == bool(said)
    assert said in found


def test_a_dry_run_says_what_is_made_and_why(stage: Stage) -> None:
    _, first = run(stage, "--dry-run")
    assert "objects      made   the first of its kind here" in first
    assert "renders      made   objects made anew" in first
    assert stage.versions == []
    run(stage)
    _, second = run(stage, "--dry-run")
    assert second.count("reused") == 9
    _, third = run(stage, "--dry-run", "--set", "lens.train.steps=5")
    assert third.count("reused") == 5
    assert "lens         made   lens.train.steps 3 → 5" in third
    assert len(stage.versions) == 1
