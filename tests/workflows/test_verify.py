"""verify: whole artifacts pass; what is damaged is named with its shard and its sample."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from upath import UPath

from pipelines.store.artifacts import MANIFEST, Artifact
from pipelines.store.files import write_atomic
from pipelines.store.home import Home
from pipelines.store.shards import encode_json, write_shard
from vitlens_core.errors import ConfigError
from workflows.cli import main
from workflows.commands.verify import verify

SAMPLES = [{"__key__": f"chair{i}", "json": encode_json(i), "bin": bytes(5000)} for i in range(3)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def made(home: Home) -> Artifact:
    build = home.store.begin("shards", 1, {}, {})
    entries = [write_shard(build.folder / f"train-0000{n}.tar", SAMPLES)[0] for n in range(2)]
    return build.commit(entries, {"samples": 6})


def _said(home: Home, step: str | None = None) -> tuple[int, str]:
    out = io.StringIO()
    damaged = verify(Console(file=out, width=400), home, step)
    return damaged, out.getvalue()


def _flip(path: UPath) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"chair1.bin") + 600] ^= 1
    path.write_bytes(bytes(data))


DAMAGES: dict[str, tuple[Callable[[UPath], object], str]] = {
    "a flipped bit": (_flip, "sample chair1 differs from its checksum"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:9000]), "damaged after sample chair0"),
    "no longer there": (lambda p: p.unlink(), "missing, but its manifest states"),
    "padded": (lambda p: p.write_bytes(p.read_bytes() + bytes(512)), "its samples are whole"),
}


def test_whole_artifacts_pass(home: Home, made: Artifact) -> None:
    damaged, said = _said(home)
    assert damaged == 0
    assert "1 artifacts, 2 files" in said
    assert "none damaged" in said


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_traced_to_the_shard_and_the_sample(
    home: Home, made: Artifact, damage: Callable[[UPath], object], words: str
) -> None:
    damage(made.path("train-00001.tar"))
    damaged, said = _said(home, "shards")
    assert damaged == 1
    assert "train-00001.tar" in said
    assert words in said
    assert "run again" in said


MANIFESTS: dict[str, Callable[[str], str]] = {
    "cut in two": lambda text: text[: len(text) // 2],
    "a file of another folder": lambda text: text.replace("train-00000.tar", "../../other.tar"),
    "a file of this machine": lambda text: text.replace("train-00000.tar", "/etc/passwd"),
    "a file with a NUL": lambda text: text.replace("train-00000.tar", "a\\u0000b"),
    "no size": lambda text: text.replace('"size_bytes": ', '"size_bytes": "x', 1),
    "not JSON": lambda text: "\x1b[2J",
    "nested without end": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_bad_manifest_is_named_and_passed_over(
    home: Home, made: Artifact, damage: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = home.store.begin("lens", 1, {}, {})
    whole.commit([write_atomic(whole.folder / "lens.bin", b"x")], {})
    manifest = made.path(MANIFEST)
    manifest.write_text(damage(manifest.read_text()))
    damaged, said = _said(home)
    assert damaged == 1
    assert str(manifest) in said
    assert "1 artifacts, 1 files" in said, "the other one is verified"
    monkeypatch.setenv("VITLENS_HOME", str(home.root))
    told = CliRunner().invoke(main, ["status"])
    assert told.exit_code == 0, told.output
    assert "damaged" in told.output
    assert "\x1b" not in told.output
    as_json = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
    assert [each["step"] for each in as_json["artifacts"]] == ["lens"]
    assert str(manifest) in as_json["damaged"][0]


def test_nothing_to_look_at_is_said(home: Home, made: Artifact) -> None:
    with pytest.raises(ConfigError, match="no artifacts of lens"):
        verify(Console(file=io.StringIO()), home, "lens")
