"""Every workflow at its smallest, from its source to a registered lens that loads; then a lens
that teaches another.

Real components in one process. Data sets that are fetched on demand are
replaced by a few files in their layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitlens_core
from pipelines.store.home import Home
from tests.pipelines.source.datasets import test_seglearn_watch
from tests.pipelines.source.datasets.test_tuxpaint_stamps import write_stamp
from vitlens_core import modalities
from workflows.modalities import modality_names
from workflows.runner import RunOutcome, execute
from workflows.spec import load_workflow
from workflows.workplace import Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Depth and IMU share the point clouds' foundation.
IN_ORDER = ["point_cloud", *(name for name in modality_names() if name != "point_cloud")]
GENERATED = {"thermal", "tactile", "eeg"}


def write_stamps(root: Path) -> None:
    for kind in ("birds", "mammals/bovines"):
        for number in range(12):
            write_stamp(root, f"animals/{kind}/animal{number}", f"The {kind} number {number}.")


def write_watch(root: Path) -> None:
    rng = np.random.default_rng(0)
    recorded = test_seglearn_watch.content()
    count = 24
    recorded["X"] = [rng.standard_normal((600, 6)) for _ in range(count)]
    recorded["y"] = np.arange(count) % 7
    recorded["subject"] = np.arange(count)
    recorded["side"] = np.zeros(count)
    test_seglearn_watch.write(root, recorded)


FETCHED: dict[str, Callable[[Path], None]] = {"audio": write_stamps, "imu": write_watch}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


def _run(home: Home, modality: str, *overrides: str) -> dict[str, Any]:
    """The report of a finished run."""
    sets = list(overrides)
    if modality in FETCHED:
        folder = home.root / "data sets" / modality
        if not folder.exists():
            FETCHED[modality](folder)
        sets.append(f"source.root={folder}")
    assert execute(Workplace.from_environment(), modality, "tiny", sets) is RunOutcome.CHAMPION
    return json.loads((home.latest / "report.json").read_text())


@pytest.mark.parametrize(
    "modality", [IN_ORDER[0], *(pytest.param(n, marks=pytest.mark.nightly) for n in IN_ORDER[1:])]
)
def test_a_workflow_ends_with_a_champion_that_loads(
    home: Home, modality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home.root))
    report = _run(home, modality)
    assert report["modality"] == modality
    assert report["model"]["name"] == f"vitlens-{modality}"
    assert report["is_generated"] == (modality in GENERATED)
    # Of the two ways into the flow, the run took one.
    ways = {"source"} if report["config"]["source"] else {"objects", "renders"}
    other = {"source", "objects", "renders"} - ways
    assert set(load_workflow(modality).step_names) - other <= set(report["seconds"])
    assert report["objects"]["quarantined"] == 0
    model = vitlens_core.load(f"models:/vitlens-{modality}@champion")
    signal = modalities.load_lensed(modality).Signal(**report["config"]["signal"])
    found = model.encode({modality: [signal.example()], "text": ["a chair"]})
    for embeddings in found.values():
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(1))


@pytest.mark.nightly
def test_a_depth_lens_teaches_point_clouds(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the space of the lens that teaches, and without images or words."""
    monkeypatch.setenv("VITLENS_HOME", str(home.root))
    report = _run(
        home,
        "point_cloud",
        "teachers.near=models:/vitlens-depth@champion",
        "lens.train.image_weight=0",
        "lens.train.text_weight=0",
    )
    assert report["supervision"] == {"teacher_near": 1}
    assert report["emergent"]
    assert report["foundation"]["teachers"] == {"near": "depth"}
    assert 0 <= report["teacher_zero_shot"]["near"]["top1"] <= 1
