"""Lens checkpoints: what the file holds, who may load it, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.tiny_models import TinyFoundation, stored_clouds, tiny_tower, tower_settings
from vitlens_core.checkpoint import encode_lens, load_lens
from vitlens_core.errors import CheckpointError
from vitlens_core.lens_header import FORMAT, read_settings


@pytest.fixture
def foundation() -> TinyFoundation:
    return TinyFoundation()


@pytest.fixture
def lens(tmp_path: Path, foundation: TinyFoundation) -> Path:
    path = tmp_path / "lens.safetensors"
    path.write_bytes(_encoded(foundation))
    return path


def _encoded(foundation: TinyFoundation, **overrides) -> bytes:
    settings = tower_settings(**overrides)
    tower = tiny_tower(foundation, **overrides)
    return encode_lens(tower.trained_state(), settings, foundation.spec, foundation.digest())


def test_a_loaded_lens_computes_as_the_stored_one(lens: Path, foundation: TinyFoundation) -> None:
    tower, settings = load_lens(lens, foundation)
    clouds = settings.tokenizer_config.prepare(stored_clouds(2), settings.signal_config)
    assert not tower.training
    assert settings == tower_settings()
    assert torch.equal(tower(clouds), tiny_tower(foundation).eval()(clouds))


def test_equal_towers_give_equal_bytes(lens: Path, foundation: TinyFoundation) -> None:
    assert lens.read_bytes() == _encoded(TinyFoundation())


@pytest.mark.parametrize("plan", [{}, {"unlock_cls": True}])
def test_frozen_weights_are_not_stored(tmp_path: Path, plan: dict) -> None:
    path = tmp_path / "lens.safetensors"
    path.write_bytes(_encoded(TinyFoundation(), trunk=plan))
    with safe_open(path, framework="pt") as file:
        stored = {name for name in file.keys() if name.startswith("trunk.")}  # noqa: SIM118
    assert stored == ({"trunk.cls_token"} if plan else set())


def test_settings_are_read_without_the_foundation(lens: Path, foundation: TinyFoundation) -> None:
    assert read_settings(lens) == (tower_settings(), "tiny:0", foundation.digest())


def test_another_foundation_is_refused(lens: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trained against tiny:0 .* not against .* tiny:1"):
        load_lens(lens, TinyFoundation(seed=1))


def _rewritten(path: Path, state: dict[str, torch.Tensor], **metadata: str) -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = file.metadata()
    save_file(tensors | state, path, known | metadata)


def test_other_tensors_are_refused(lens: Path, foundation: TinyFoundation) -> None:
    _rewritten(lens, {"odd": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"unexpected \['odd'\]"):
        load_lens(lens, foundation)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "vitlens-lens-1"}, f"not a lens checkpoint .{FORMAT}."),
        ({"settings": json.dumps({"modality": "point_cloud", "smell": 1})}, "smell"),
        ({"settings": "{"}, "settings"),
    ],
)
def test_settings_of_another_release_are_refused(
    lens: Path, foundation: TinyFoundation, metadata: dict[str, str], message: str
) -> None:
    _rewritten(lens, {}, **metadata)
    with pytest.raises(CheckpointError, match=message):
        load_lens(lens, foundation)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_damaged_file_is_refused(lens: Path, foundation: TinyFoundation, kept: int) -> None:
    lens.write_bytes(lens.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_lens(lens, foundation)


def test_a_missing_file_is_named(tmp_path: Path, foundation: TinyFoundation) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        load_lens(tmp_path / "absent.safetensors", foundation)


_LIGHTLY = """
import sys
from pathlib import Path
from vitlens_core.lens_header import read_settings
from vitlens_core.sources import locate
settings, spec, _ = read_settings(locate(Path(sys.argv[1])))
print(settings.modality, "torch" in sys.modules)
"""


def test_what_a_lens_is_is_read_without_torch(lens: Path) -> None:
    command = [sys.executable, "-c", _LIGHTLY, str(lens.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == ([tower_settings().modality, "False"], "")
