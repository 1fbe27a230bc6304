"""stored_weights: a hub or a path is asked once, whoever opens the foundation afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import open_clip
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation
from pipelines.foundation.opening import open_foundation
from pipelines.foundation.step import FoundationConfig
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import WEIGHTS, Artifact
from tests.pipelines import synthetic
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import clip


class Counted(MemoryFileSystem):
    """An object store in memory that notes which files it gives out and takes in."""

    store: dict[str, Any] = {}  # noqa: RUF012  as fsspec has it
    pseudo_dirs = [""]  # noqa: RUF012
    given: list[str] = []  # noqa: RUF012
    taken: list[str] = []  # noqa: RUF012

    def get_file(self, rpath: str, lpath: str, *args: Any, **options: Any) -> None:
        Counted.given.append(Path(rpath).name)
        super().get_file(rpath, lpath, *args, **options)

    def put_file(self, lpath: str, rpath: str, *args: Any, **options: Any) -> None:
        Counted.taken.append(Path(rpath).name)
        super().put_file(lpath, rpath, *args, **options)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store in it, where a cluster does the work."""
    fsspec.register_implementation("memory", Counted, clobber=True)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.7:6379")  # nothing is asked there
    yield Store(UPath("memory://bucket"))
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)
    for kept in (Counted.store, Counted.given, Counted.taken):
        kept.clear()


@pytest.fixture
def weights(tiny_open_clip: str, tmp_path: Path) -> Path:
    """The checkpoint of a spec, which can be taken away."""
    path = tmp_path / "weights.pt"
    path.write_bytes(Path(tiny_open_clip.partition("/")[2]).read_bytes())
    return path


def _made(runtime: Runtime, store: Store, weights: Path) -> Artifact:
    there = Runtime(store, runtime.resources, runtime.console, runtime.home)
    config = FoundationConfig(spec=f"open_clip:vitlens-tiny/{weights}")
    return foundation.run(there, config, {}, synthetic.targets(runtime.store, {"train": (2,)}))


def _weights(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".safetensors")]


def test_workers_of_a_cluster_read_them_from_the_store(
    runtime: Runtime, counted: Store, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(runtime, counted, weights)
    assert len(_weights(Counted.taken)) == 1
    alone = open_clip.create_model("vitlens-tiny", pretrained=str(weights)).eval()
    weights.unlink()  # of the driver: no worker has it
    opened = open_foundation(made)
    assert _weights(Counted.given) == _weights(Counted.taken)
    pictures = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        found = opened.trunk(opened.image_tokens(pictures))
        expected: torch.Tensor = alone.visual(pictures)  # ty: ignore[not-callable]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert not any(parameter.requires_grad for parameter in opened.parameters())


def test_they_are_written_once_for_all_foundations_of_the_same_weights(
    runtime: Runtime, counted: Store, weights: Path
) -> None:
    first = _made(runtime, counted, weights)
    copy = weights.with_name("copy.pt")
    copy.write_bytes(weights.read_bytes())
    second = _made(runtime, counted, copy)
    assert first.fingerprint != second.fingerprint
    assert len(_weights(Counted.taken)) == 1
    assert all(folder.parent.name != WEIGHTS for folder in counted.folders())


def test_on_one_machine_nothing_is_copied(runtime: Runtime, weights: Path) -> None:
    made = _made(runtime, runtime.store, weights)
    assert not (runtime.store.root / WEIGHTS).exists()
    weights.unlink()
    with pytest.raises(ConfigError, match="neither a file nor a tag"):
        open_foundation(made)


@pytest.mark.parametrize("damage", ["cut", "others"])
def test_damaged_ones_are_refused(
    runtime: Runtime, weights: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.7:6379")
    made = _made(runtime, runtime.store, weights)
    [path] = (runtime.store.root / WEIGHTS).iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data[: len(data) // 2]) if damage == "cut" else bytes(data))
    with pytest.raises(CheckpointError, match=r"does not hold the weights|are not those"):
        open_foundation(made)


@pytest.mark.parametrize(("source", "asked"), [("openai", "openai"), ("/no/such/file.pt", None)])
def test_a_tag_still_decides_the_network_and_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, asked: str | None
) -> None:
    """That of OpenAI has other activations, those of SigLIP other means."""
    given: dict[str, Any] = {}

    def built(name: str, **options: Any) -> tuple[torch.nn.Module, None, None]:
        given.update(options, name=name)
        return torch.nn.Linear(1, 1), None, None

    monkeypatch.setattr(open_clip, "create_model_and_transforms", built)
    with pytest.raises(CheckpointError, match="does not hold the weights"):
        clip.load_weights(f"open_clip:ViT-B-32/{source}", tmp_path / "missing.safetensors")
    assert (given["name"], given["pretrained"]) == ("ViT-B-32", asked)
    assert not given["load_weights"]
    assert not given["pretrained_text"]
