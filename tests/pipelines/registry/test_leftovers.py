"""What a registry keeps without need: listed with its size, removed for good, nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException

from pipelines.registry import models, own_store
from pipelines.registry.leftovers import leftovers, remove
from tests.pipelines.registered import NAME, register
from workflows.cli import main


@pytest.fixture
def replaced(home: Path, tmp_path: Path) -> tuple[str, str]:
    """A registered version; and beside it a deleted run with files and a model of its own."""
    register(home)
    client = models.connect(home)
    where = models.experiment(client, home)
    run_id = client.create_run(where, run_name="replaced").info.run_id
    page = tmp_path / "page.html"
    page.write_text("x" * 5000)
    client.log_artifact(run_id, str(page))
    model = client.create_logged_model(where, name="spare", source_run_id=run_id)
    client.log_model_artifacts(model.model_id, str(_folder(tmp_path)))
    client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run_id)
    client.delete_run(run_id)
    return run_id, model.model_id


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "weights").write_bytes(b"0" * 9000)
    return folder


def test_deleted_runs_and_their_models_are_listed_with_their_size(
    home: Path, replaced: tuple[str, str]
) -> None:
    found = {item.identity: item for item in leftovers(home)}
    assert set(found) == set(replaced)
    run, model = (found[identity] for identity in replaced)
    assert (run.what, run.size_bytes) == ("MLflow run replaced, deleted", 5000)
    assert model.size_bytes >= 9000


def test_removed_for_good_and_nothing_else(home: Path, replaced: tuple[str, str]) -> None:
    gone = [item.folder for item in leftovers(home)]
    kept = {f for f in _files(home) if not any(f.is_relative_to(folder) for folder in gone)}
    remove(home, leftovers(home))
    client = models.connect(home)
    assert leftovers(home) == []
    assert _files(home) == kept
    with pytest.raises(MlflowException):
        client.get_run(replaced[0])
    [version] = models.versions(home, "point_cloud")
    assert client.get_run(version.run_id).info.lifecycle_stage == "active"
    assert models.download(f"models:/{NAME}/1", home).is_dir()


def test_files_that_no_run_names_are_leftovers(home: Path) -> None:
    register(home)
    orphan = home / own_store.FILES / "models" / "m-unknown"
    orphan.mkdir()
    (orphan / "weights").write_bytes(b"0" * 100)
    [found] = leftovers(home)
    assert (found.folder, found.size_bytes) == (orphan, 100)
    remove(home, [found])
    assert not orphan.exists()


def test_what_a_version_names_stays_also_if_its_run_was_deleted(home: Path) -> None:
    version = register(home)
    client = models.connect(home)
    client.delete_run(version.run_id)
    assert leftovers(home) == []
    [logged] = client.search_logged_models([models.experiment(client, home)])
    client.delete_logged_model(logged.model_id)
    assert leftovers(home) == []
    assert models.download(f"models:/{NAME}/1", home).is_dir()


def test_files_outside_of_the_home_are_others(
    home: Path, replaced: tuple[str, str], tmp_path: Path
) -> None:
    """A copied home names its own files; what names another place is left alone."""
    outside = tmp_path / "elsewhere" / "artifacts"
    outside.mkdir(parents=True)
    (outside / "page.html").write_text("theirs")
    client = models.connect(home)
    where = client.create_experiment("others", artifact_location=outside.as_uri())
    run_id = client.create_run(where).info.run_id
    client.delete_run(run_id)
    assert run_id not in {item.identity for item in leftovers(home)}


def test_what_a_kill_left_half_removed_is_removed_by_the_next_call(
    home: Path, replaced: tuple[str, str]
) -> None:
    for item in leftovers(home):
        shutil.rmtree(item.folder)
    assert len(leftovers(home)) == 2
    remove(home, leftovers(home))
    assert leftovers(home) == []


def test_a_home_without_a_registry_has_none_and_gets_none(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "new") == []
    assert not (tmp_path / "new").exists()


def test_gc_lists_them_and_deletes_them_when_asked(
    home: Path, replaced: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))

    def said(*words: str) -> str:
        result = CliRunner().invoke(main, ["gc", *words])
        assert result.exit_code == 0, result.output
        return result.output

    assert "MLflow run replaced" not in said()  # too young
    assert "MLflow run replaced" in said("--older-than", "0").replace("\n", " ")
    assert len(leftovers(home)) == 2
    said("--older-than", "0", "--delete")
    assert leftovers(home) == []


def _files(home: Path) -> set[Path]:
    return set((home / own_store.FILES).rglob("*"))
