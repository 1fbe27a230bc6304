"""`vitlens benchmark`: the table of any model, and what is said of mistakes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from pipelines.benchmarks.table import Table
from pipelines.store.home import Home
from tests.pipelines import synthetic
from tests.pipelines.benchmarks import small_clouds
from tests.pipelines.finished_run import finished_run
from tests.pipelines.registered import challenge
from tests.tiny_models import tiny_tower, tower_settings
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import load_foundation
from workflows.cli import main
from workflows.commands.benchmark import _trained_on, parse_roots, show
from workflows.exit_codes import FAILED, MISTAKE


@pytest.fixture
def lens(tmp_path: Path, tiny_open_clip: str) -> Path:
    foundation = load_foundation(tiny_open_clip)
    state = tiny_tower(foundation).trained_state()
    data = encode_lens(state, tower_settings(), foundation.spec, foundation.digest())
    path = tmp_path / "lens" / "lens.safetensors"
    path.parent.mkdir()
    path.write_bytes(data)
    return path


def vitlens(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["benchmark", *map(str, arguments)])


def test_a_lens_is_measured_and_its_table_written(
    lens: Path, tiny_open_clip: str, tmp_path: Path
) -> None:
    root = small_clouds.openshape_modelnet(tmp_path, ["airplane", "bed"] * 2)
    out = tmp_path / "out"
    mounted = f"modelnet40_openshape={root}"
    result = vitlens(lens, "--foundation", tiny_open_clip, "--root", mounted, "--out", out)

    assert result.exit_code == 0, result.output
    assert "not mounted: modelnet40_ulip, objaverse_lvis" in result.output
    assert "ModelNet40" in result.output
    table = Table.model_validate(json.loads((out / "benchmarks.json").read_text()))
    assert {row.benchmark for row in table.rows} == {"modelnet40_openshape"}
    assert "| ModelNet40 |" in (out / "benchmarks.md").read_text()


def test_a_damaged_data_set_is_a_failure_that_is_shown(
    lens: Path, tiny_open_clip: str, tmp_path: Path
) -> None:
    mounted = f"objaverse_lvis={tmp_path}"
    result = vitlens(lens, "--foundation", tiny_open_clip, "--root", mounted)

    assert result.exit_code == FAILED
    assert "failed objaverse_lvis" in result.output
    assert "lvis.json" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ("Missing argument 'SOURCE",)),
        (("lens",), ("which data sets?", "--root esc50=/data/ESC-50")),
        (("lens", "--root", "esc50"), ("expected NAME=FOLDER",)),
        (("lens", "--root", "=x"), ("expected NAME=FOLDER",)),
        (("lens", "--root", "esc50="), ("expected NAME=FOLDER",)),
        (("lens", "--root", "esc50=a", "--root", "esc50=b"), ("is given twice: a and b",)),
        (("lens", "--root", "esc5=a"), ("unknown benchmark 'esc5'", "did you mean esc50?")),
        (("/nowhere", "--root", "esc50=a"), ("no checkpoint at /nowhere",)),
    ],
)
def test_a_mistake_is_explained_before_anything_is_measured(
    arguments: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    result = vitlens(*arguments)

    assert result.exit_code == MISTAKE
    assert "Traceback" not in result.output
    for words in expected:
        assert words in result.output


def test_a_benchmark_of_a_modality_the_model_lacks_is_a_mistake(
    lens: Path, tiny_open_clip: str
) -> None:
    result = vitlens(lens, "--foundation", tiny_open_clip, "--root", "esc50=/data")

    assert result.exit_code == MISTAKE
    assert "esc50 measures audio; the model has point_cloud" in result.output


def test_roots_are_read_as_they_are_written() -> None:
    assert parse_roots(["esc50=/a=b", "clotho=c"]) == {"esc50": "/a=b", "clotho": "c"}
    with pytest.raises(ConfigError):
        parse_roots([])


def test_a_table_without_rows_shows_what_is_not_mounted() -> None:
    unscored = {"benchmark": "esc50", "title": "ESC-50", "protocol": "p", "reason": "not mounted"}
    table = Table.model_validate(
        {"modalities": ("audio",), "rows": (), "failed": (), "skipped": (unscored,)}
    )
    text = io.StringIO()
    show(Console(file=text), table)
    assert text.getvalue().strip() == "not mounted: esc50"


def test_what_a_registered_lens_was_trained_on_is_known(home: Path) -> None:
    place = Home(home)
    targets = synthetic.targets(place.store, {"train": (3, 2), "val": (2,), "test": (2,)})
    version = challenge(home, finished_run(home) | {"targets": targets})
    source = f"models:/{version.name}/{version.version}"
    keys = {s["__key__"] for path in targets.shards("train") for s in targets.read(path)}
    found = _trained_on(place, [source])
    assert found is not None
    assert found >= keys
    assert len(keys) == 5
    assert _trained_on(place, [source, "lens.safetensors"]) is None
    (targets.folder / "manifest.json").unlink()
    assert _trained_on(place, [source]) is None
