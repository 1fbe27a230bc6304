"""Backups: what comes back is the registry that was there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipelines.registry import models, promotion
from tests.pipelines.registered import NAME, register
from workflows.cli import main


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))


def vitlens(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_restored_home_has_the_same_registry_and_its_models_load(
    home: Path, tmp_path: Path
) -> None:
    first = register(home)
    promotion.promote(home, NAME, first.version, "it works")
    before, history = models.versions(home, "point_cloud"), promotion.history(home, NAME)
    weights = next(models.download(f"models:/{NAME}@champion", home).rglob("*.safetensors"))
    content = weights.read_bytes()
    done = vitlens("backup", str(tmp_path / "kept"))
    assert done.exit_code == 0, done.output
    backup = done.output.strip()

    second = register(home, right=1.0)
    promotion.promote(home, NAME, second.version, "and this too")
    shutil.rmtree(home / "mlartifacts")
    done = vitlens("restore", backup)
    assert done.exit_code == 0, done.output
    assert models.versions(home, "point_cloud") == before
    assert promotion.history(home, NAME) == history
    assert weights.read_bytes() == content


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_backup_changes_nothing(home: Path, tmp_path: Path, damage: str) -> None:
    register(home)
    backup = Path(vitlens("backup", str(tmp_path / "kept")).output.strip())
    victim = next(path for path in (backup / "files").rglob("*.safetensors"))
    victim.write_bytes(victim.read_bytes()[:-1]) if damage == "cut" else victim.unlink()
    second = register(home, right=1.0)
    done = vitlens("restore", str(backup))
    assert done.exit_code == 3
    assert victim.name in done.output
    assert models.versions(home, "point_cloud")[0].version == second.version


def test_an_unfinished_backup_is_refused(tmp_path: Path) -> None:
    done = vitlens("restore", str(tmp_path))
    assert done.exit_code == 2
    assert "no finished backup" in done.output


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://mlflow:secret@host/mlflow", "PGPASSWORD"),
        ("mysql://host/mlflow", "postgresql://"),
        ("postgresql://host", "postgresql://"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_no_secret_is_shown(
    tmp_path: Path, url: str, why: str
) -> None:
    done = vitlens("backup", str(tmp_path), "--database", url)
    assert done.exit_code == 2
    assert why in done.output
    assert "secret" not in done.output


def test_a_database_that_is_away_is_named_by_its_client(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:9/mlflow"
    done = vitlens("backup", str(tmp_path), "--database", url)
    assert done.exit_code in {2, 3}  # without the client of Postgres it is a mistake
    assert "pg_dump" in done.output
    assert not list(tmp_path.rglob("backup.json"))
