"""`vitlens connector`: from a registered version to a connector that `vitlens ask` takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from pipelines import report
from pipelines.connector.figures import ConnectorFigures
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation
from pipelines.registry import models, promotion
from pipelines.report.content import Report
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from tests import tiny_language
from tests.pipelines import finished_run as made_up
from tests.pipelines import synthetic
from tests.pipelines.registered import NAME, challenge
from vitlens_core.checkpoint import encode_lens
from vitlens_core.models.tower import build_tower
from workflows.cli import main
from workflows.exit_codes import FAILED, MISTAKE


def vitlens(*arguments: object) -> Result:
    # Wide enough that no table is folded.
    return CliRunner(env={"COLUMNS": "160"}).invoke(main, list(map(str, arguments)))


def _lens(home: Home, foundation: Artifact) -> Artifact:
    opened, info = open_foundation(foundation), read_info(foundation)
    settings = synthetic.trained_tower(trunk={"skip_first": 0})
    torch.manual_seed(0)
    state = build_tower(settings, opened.trunk).trained_state()
    build = home.store.begin("lens", 1, {"modality": "point_cloud"}, {"foundation": foundation})
    files = {
        "lens.safetensors": encode_lens(state, settings, info.spec, info.digest),
        "curves.json": encode_model(made_up.curves()),
    }
    return build.commit([write_atomic(build.folder / n, d) for n, d in files.items()], {})


@pytest.fixture
def champion(home: Path, tiny_lit: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Artifact]:
    """A registered version whose targets, foundation and lens are real and tiny."""
    monkeypatch.setenv("VITLENS_HOME", str(home))
    place = Home(home)
    sizes = {"train": (9,), "val": (6,), "test": (6,)}
    foundation = synthetic.foundation(place.store, tiny_lit)
    own = {
        "targets": synthetic.targets(place.store, sizes),
        "foundation": foundation,
        "lens": _lens(place, foundation),
    }
    artifacts = made_up.finished_run(home) | own
    version = challenge(home, artifacts)
    promotion.promote(home, NAME, version.version, "the first", force=True)
    return artifacts


def test_from_a_champion_to_an_answer(champion, tmp_path: Path) -> None:
    language = tiny_language.write("llama", tmp_path / "language")
    made = ["connector", "point_cloud", "--language-model", f"hf:{language}", "--seeds", 2]
    out = tmp_path / "made"
    result = vitlens(*made, "--out", out)
    assert result.exit_code == 0, result.output
    for said in ("point cloud", "ranked", "shuffled", "the name itself in the prompt"):
        assert said in result.output
    figures = ConnectorFigures.model_validate_json((out / "figures.json").read_bytes())
    assert (figures.seeds, figures.samples, figures.classes) == (2, 6, 3)
    assert "no report" in result.output
    again = vitlens(*made, "--out", out, "--json")
    assert json.loads(again.stdout) == json.loads(figures.model_dump_json())

    cloud = tmp_path / "cloud.npy"
    np.save(cloud, np.random.default_rng(0).random((50, 6)).astype(np.float32))
    lens = tmp_path / "lens"
    lens.mkdir()
    for name, step in (("lens.safetensors", "lens"), ("foundation.json", "foundation"),
                       ("projections.safetensors", "foundation")):  # fmt: skip
        (lens / name).write_bytes(champion[step].read_whole(name))
    asked = ["ask", lens, f"point_cloud={cloud}", "what is it?", "--max-tokens", 2]
    connector = ["--connector", out / "connector.safetensors"]
    said = vitlens(*asked, "--by", language, *connector)
    assert said.exit_code == 0, said.output
    assert "by " in said.output
    assert "name it with --by" in vitlens(*asked, *connector).output
    other = tiny_language.write("llama", tmp_path / "other", seed=1)
    refused = vitlens(*asked, "--by", other, *connector)
    assert refused.exit_code == FAILED
    assert "trained for the language model" in " ".join(refused.output.split())


def test_the_report_of_the_run_states_it(champion, home: Path, tmp_path: Path) -> None:
    model = models.versions(home, "point_cloud")[0]
    # Made as a run makes it, so that its config and lens are those of the version.
    folder = report.write(home, made_up.CONFIG, champion, model.gates, model)
    language = tiny_language.write("llama", tmp_path / "language")
    made = ["connector", "point_cloud", "--language-model", f"hf:{language}", "--seeds", 1]
    result = vitlens(*made, "--out", tmp_path / "made")
    assert result.exit_code == 0, result.output
    assert f"report {folder / 'report.html'}" in result.output
    (stated,) = Report.read(folder).connectors
    figures = (tmp_path / "made/figures.json").read_bytes()
    assert stated == ConnectorFigures.model_validate_json(figures)
    run = models.connect(home).download_artifacts(model.run_id, "report/report.json", str(tmp_path))
    assert Path(run).read_bytes() == (folder / "report.json").read_bytes()
    (champion["shards"].folder / "manifest.json").unlink()
    assert "no report" in vitlens(*made, "--out", tmp_path / "made").output


def test_what_the_store_no_longer_has_is_named(champion, tmp_path: Path) -> None:
    version = models.versions(Home.from_environment().root, "point_cloud")[0]
    (champion["lens"].folder / "manifest.json").unlink()
    result = vitlens("connector", "point_cloud", version.version, "--language-model", tmp_path)
    assert result.exit_code == MISTAKE
    assert "its lens are not in" in " ".join(result.output.split())
