"""What somebody with write access to a registry, or a hostile one, can do to a home: nothing."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vitlens_core
from pipelines.registry import models, moves, promotion, signing
from pipelines.registry.version import CHAMPION, PREVIOUS
from tests.pipelines.finished_run import finished_run, gate_results
from tests.pipelines.registered import NAME, aliases, challenge, register
from tests.pipelines.registry.racing import promote_from
from tests.pipelines.registry.server import mlflow_server
from vitlens_core.digests import DIGESTS_FILE, write_digests
from vitlens_core.errors import ConfigError, IntegrityError

SOURCE = f"models:/{NAME}/1"


def folder_of(home: Path, version: int = 1) -> Path:
    source = models.connect(home).get_model_version(NAME, str(version)).source
    return Path(str(source).removeprefix("file://"))


# --- finding 16: digests at every load ---------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit of the lens": (
        lambda folder: flip(folder / "artifacts" / "lens.safetensors"),
        "artifacts/lens.safetensors",
    ),
    "a flipped bit of the foundation": (
        lambda folder: flip(folder / "artifacts" / "foundation.json"),
        "artifacts/foundation.json",
    ),
    "a flipped bit of the code": (
        lambda folder: flip(folder / "code" / "vitlens_core" / "__init__.py"),
        "code/vitlens_core/__init__.py",
    ),
    "a missing card": (lambda folder: (folder / "artifacts" / "README.md").unlink(), "README.md"),
    "a file too many": (lambda folder: (folder / "code" / "os.py").write_text(""), "code/os.py"),
    "a link": (lambda folder: (folder / "code" / "x").symlink_to("/etc"), "is a link"),
    "no list": (lambda folder: (folder / DIGESTS_FILE).unlink(), DIGESTS_FILE),
    "a truncated list": (lambda folder: (folder / DIGESTS_FILE).write_text("{"), DIGESTS_FILE),
    "another list": (
        lambda folder: write_digests(_changed(folder)),
        "not the files that were registered",
    ),
}


def _changed(folder: Path) -> Path:
    flip(folder / "artifacts" / "lens.safetensors")
    return folder


def test_a_damaged_model_is_named_and_refused(home: Path, tmp_path: Path) -> None:
    register(home)
    assert models.download(SOURCE, home) == folder_of(home)
    whole = shutil.copytree(folder_of(home), tmp_path / "whole")
    for damage, told in DAMAGES.values():
        damage(folder_of(home))
        with pytest.raises(IntegrityError, match=told):
            models.download(SOURCE, home)
        with pytest.raises(ConfigError, match="prove nothing"):
            promotion.promote(home, NAME, 1)
        shutil.rmtree(folder_of(home))
        shutil.copytree(whole, folder_of(home))
    assert promotion.promote(home, NAME, 1).aliases == (CHAMPION,)


def test_a_copy_of_a_model_checks_itself(home: Path, tmp_path: Path) -> None:
    register(home)
    copy = shutil.copytree(folder_of(home), tmp_path / "copy")
    flip(copy / "artifacts" / "lens.safetensors")
    with pytest.raises(IntegrityError, match=r"artifacts/lens\.safetensors"):
        vitlens_core.load(copy)


def test_a_version_without_a_digest_is_not_loaded(home: Path) -> None:
    register(home)
    models.connect(home).delete_model_version_tag(NAME, "1", "vitlens.digest")
    with pytest.raises(IntegrityError, match="states no digest"):
        models.download(SOURCE, home)


# --- signed models -----------------------------------------------------------------------------


def test_where_keys_are_listed_only_their_models_load(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(home)
    keys, other = tmp_path / "keys", tmp_path / "other"
    keys.write_text(f"{signing.public_key(other)}  # a colleague\n")
    monkeypatch.setenv(signing.TRUSTED, str(keys))
    assert models.download(SOURCE, home)  # its own
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.tracking_uri(home))
    with pytest.raises(IntegrityError, match=r"signed by .* neither this home nor"):
        models.download(SOURCE, elsewhere)
    keys.write_text(signing.public_key(home))
    assert models.download(SOURCE, elsewhere)
    models.connect(home).set_model_version_tag(NAME, "1", "vitlens.signature", "ed25519:0:0")
    with pytest.raises(IntegrityError, match="not signed"):
        models.download(SOURCE, elsewhere)


def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    signing.public_key(home)
    key = home / "keys" / "signing.key"
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read the signing key"):
        signing.sign(home, {})


# --- finding 3: a registry chooses where nothing is written or read -------------------------------


@pytest.mark.nightly
def test_a_run_id_with_dots_writes_only_below_models(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server takes such a run id with a source in an object store."""
    files = tmp_path / "files"
    with mlflow_server(models.tracking_uri(home), files) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        model = register(home)
        client = models.connect(home)
        honest = client.get_model_version(NAME, "1")
        tags = {"vitlens.digest": model.digest}
        made = client.create_model_version(
            NAME,
            source=str(honest.source),
            model_id=str(honest.source).split("/")[-2],
            tags=tags,
        )
        _set_run_id(home, int(made.version), "../../../evil")
        assert client.get_model_version(NAME, made.version).run_id == "../../../evil"
        reader = tmp_path / "of a reader" / "home"
        before = {path for path in tmp_path.rglob("*") if home not in path.parents}
        folder = models.download(f"models:/{NAME}/{made.version}", reader)
        assert folder.parent == reader / "models"
        after = {path for path in tmp_path.rglob("*") if home not in path.parents}
        assert {p for p in after - before if not p.is_relative_to(reader.parent)} == set()
        assert {p.name for p in reader.parent.iterdir()} == {"home"}


def _set_run_id(home: Path, version: int, run_id: str) -> None:
    import sqlite3

    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute(
            "update model_versions set run_id = ? where version = ?", (run_id, version)
        )


@pytest.mark.parametrize(
    "source",
    ["file:///etc", "/etc", "runs:/0/../..", "dbfs:/etc", "http://192.0.2.1/x", "FILE:/etc"],
)
def test_a_server_points_at_no_file_of_this_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    register(home)
    version = models.connect(home).get_model_version(NAME, "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(models, "_resolve", lambda *_: _lying_at(version, source))
    with pytest.raises(IntegrityError, match="must not choose files of this machine"):
        models.download(SOURCE, home)


def _lying_at(version, source: str):
    from mlflow.entities.model_registry import ModelVersion

    tags = [*version.tags.items()]
    made = ModelVersion(version.name, version.version, 0, source=source, run_id="x")
    for key, value in tags:
        made.tags[key] = value
    return made


# --- forged gates --------------------------------------------------------------------------------


def test_forged_results_of_gates_promote_nothing(home: Path) -> None:
    good, worse = register(home, 0.75), register(home, 0.25, at_least=0.5)
    client = models.connect(home)
    tags = client.get_model_version(NAME, str(good.version)).tags
    for key, value in tags.items():
        if key.startswith("vitlens.gate"):  # results, settings and signature of the good one
            client.set_model_version_tag(NAME, str(worse.version), key, value)
    assert models.get(client, NAME, worse.version).gates_passed  # as its tags say
    with pytest.raises(ConfigError, match=r"prove nothing: its signature does not fit"):
        promotion.promote(home, NAME, worse.version)
    client.delete_model_version_tag(NAME, str(worse.version), "vitlens.gates.signature")
    with pytest.raises(ConfigError, match=r"prove nothing: it is not signed"):
        promotion.promote(home, NAME, worse.version)
    assert CHAMPION not in models.aliases(client, NAME)
    promotion.promote(home, NAME, worse.version, "knowingly", force=True)
    assert promotion.history(home, NAME)[-1].forced


def test_gates_of_another_home_count_where_its_key_is_listed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(home)
    other, keys = tmp_path / "other", tmp_path / "keys"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.tracking_uri(home))
    with pytest.raises(ConfigError, match="neither this home nor in VITLENS_TRUSTED_KEYS"):
        promotion.promote(other, NAME, 1)
    keys.write_text(signing.public_key(home))
    monkeypatch.setenv(signing.TRUSTED, str(keys))
    assert promotion.promote(other, NAME, 1).aliases == (CHAMPION,)


# --- finding 19: untrusted tags ------------------------------------------------------------------


def test_a_damaged_tag_of_gates_counts_as_unchecked(home: Path) -> None:
    register(home, 0.5)
    register(home, 0.75)
    for tag in ("{", "[1]", '[{"name": 1}]', "null", "x" * 4000):
        models.connect(home).set_model_version_tag(NAME, "1", "vitlens.gates.results", tag)
        assert [bool(v.gates) for v in models.versions(home, "point_cloud")] == [True, False]
        with pytest.raises(ConfigError, match=r"no gate of .* was checked"):
            promotion.promote(home, NAME, 1)
    assert promotion.promote(home, NAME, 2).aliases == (CHAMPION,)


BAD_ENTRIES = (
    "{",
    "",
    "null",
    json.dumps({"action": "delete", "version": 1}),
    json.dumps({"action": "promote", "version": -1, "before": None}),
    promotion.Move(
        action="promote", version=999, before=None, why="", after=10**9, who="x",
        at=datetime.datetime.max.replace(tzinfo=datetime.UTC),
    ).model_dump_json(),
)  # fmt: skip


def test_bad_entries_break_neither_history_nor_promotion(home: Path) -> None:
    first, second = register(home, 0.5), register(home, 0.75)
    promotion.promote(home, NAME, first.version)
    client = models.connect(home)
    for entry in BAD_ENTRIES:
        made = {"vitlens.move": entry} if entry else {}
        client.create_model_version(moves.log_name(NAME), source="s3://x/y", tags=made)
        models.state_gates(home, second, second.gates, "settings")
        assert promotion.promote(home, NAME, second.version).aliases == (CHAMPION,)
        promotion.rollback(home, NAME)
    known = [m.version for m in promotion.history(home, NAME) if m.version != 999]
    assert known == [1, *[2, 1] * len(BAD_ENTRIES)]
    assert aliases(home) == {1: (CHAMPION,), 2: (PREVIOUS,)}


# --- findings 7 and 17: order and races -----------------------------------------------------------


def test_a_clock_two_hours_ahead_decides_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for right in (0.25, 0.5, 0.75):
        register(home, right)
    promotion.promote(home, NAME, 1)

    class Ahead:
        @staticmethod
        def now(zone: datetime.tzinfo) -> datetime.datetime:
            return datetime.datetime.now(zone) + datetime.timedelta(hours=2)

    with monkeypatch.context() as ahead:
        ahead.setattr(promotion, "datetime", Ahead)
        promotion.promote(home, NAME, 2, "from the future")
    promotion.rollback(home, NAME, "no good")
    assert promotion.replaced(home, NAME, 2)
    promotion.promote(home, NAME, 3)
    held = models.aliases(models.connect(home), NAME)
    assert (held[CHAMPION], held[PREVIOUS]) == (3, 1)
    found = promotion.history(home, NAME)
    assert [m.version for m in found] == [1, 2, 1, 3]
    assert found[1].at > found[3].at


@pytest.mark.parametrize(
    "served",
    [False, pytest.param(True, marks=pytest.mark.nightly)],
    ids=["database", "server"],
)
def test_two_homes_on_one_registry_move_it_one_after_the_other(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    homes = [home, tmp_path / "other"]
    keys = tmp_path / "keys"
    keys.write_text("\n".join(map(signing.public_key, homes)))

    def race(uri: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        rivals = [register(home, right).version for right in (0.5, 0.75)]
        promotion.promote(home, NAME, register(home, 0.25).version)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        processes = [
            context.Process(target=promote_from, args=(each, uri, keys, NAME, version, barrier))
            for each, version in zip(homes, rivals, strict=True)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(200)
        assert [process.exitcode for process in processes] == [0, 0]

    if served:
        with mlflow_server(models.tracking_uri(home), home / "mlartifacts") as uri:
            race(uri)
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
    else:
        race(models.tracking_uri(home))
    found = promotion.history(home, NAME)
    assert [m.before for m in found] == [None, *(m.version for m in found[:-1])]
    assert {m.who for m in found[1:]} == {"home", "other"}
    held = models.aliases(models.connect(home), NAME)
    assert held[CHAMPION] == found[-1].version
    assert held[PREVIOUS] == found[-1].before


def test_two_homes_that_register_one_evaluation_make_one_version(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second registers while the first has logged its run but not made its version."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.tracking_uri(home))
    artifacts = finished_run(home)
    other = tmp_path / "other"
    client = type(models.connect(home))
    create = client.create_model_version

    def overtaken(self, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(client, "create_model_version", create)
        challenge(other, artifacts)
        return create(self, *arguments, **options)

    monkeypatch.setattr(client, "create_model_version", overtaken)
    model = challenge(home, artifacts)
    assert aliases(home) == {1: ("challenger",)}
    assert model.version == 1
    run = models.connect(home).get_run(model.run_id)
    assert run.info.lifecycle_stage == "active"
    models.state_gates(home, model, gate_results(artifacts, 0.1), "settings")
    assert promotion.promote(home, NAME, 1).aliases == (CHAMPION,)
