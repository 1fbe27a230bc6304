"""What people read of the registry: within 80 columns, the headline first, JSON for programs."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.registry import models, promotion, writes
from pipelines.store.home import Home
from tests.pipelines.registered import NAME, as_made_before, register
from workflows.cli import main

Said = Callable[..., str]


def _champion_and_challenger(home: Path) -> None:
    first = register(home, right=0.25)
    promotion.promote(home, first.name, first.version, "the first")
    register(home, right=0.5)


@pytest.fixture
def vitlens(home: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """A command on a home with a champion and a better challenger; its output."""
    monkeypatch.setenv("VITLENS_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "80")
    as_made_before(home, partial(_champion_and_challenger, home), "champion and challenger")

    def said(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, words)
        assert result.exit_code == code, result.output
        return result.output

    return said


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "point_cloud"),
        ("compare", "point_cloud", "--all"),
        ("status",),
        ("status", "--all"),
        ("history", "point_cloud"),
        ("lineage", "point_cloud"),
        ("lineage", "point_cloud", "--all"),
    ],
    ids=" ".join,
)
def test_what_people_read_fits_80_columns(vitlens: Said, words: tuple[str, ...]) -> None:
    home = str(Home.from_environment().root)
    lines = [line.rstrip() for line in vitlens(*words).splitlines()]
    # Places stay whole: they are to be opened.
    assert [x for x in lines if len(x) > 80 and home not in x and "://" not in x] == []


def test_lineage_leads_to_the_pages_and_the_report(vitlens: Said) -> None:
    home = Home.from_environment()
    model = models.versions(home.root, "point_cloud")[-1]
    assert "report.html" not in vitlens("lineage", "point_cloud").replace("report/report.html", "")
    folder = home.report_folder(model.evaluation)
    folder.mkdir(parents=True)
    (folder / "report.html").touch()
    said = vitlens("lineage", "point_cloud").splitlines()
    pages = {what: said[said.index(what) + 1] for what in ("version in MLflow", "run in MLflow")}
    assert f"#/models/{NAME}/versions/{model.version}?" in pages["version in MLflow"]
    assert f"/runs/{model.run_id}?" in pages["run in MLflow"]
    assert said[said.index("report") + 1].strip() == str(folder / "report.html")
    places = json.loads(vitlens("lineage", "point_cloud", "--json"))["places"]
    assert places["report"] == str(folder / "report.html")


@pytest.mark.parametrize("command", ["compare", "status", "history", "lineage"])
def test_programs_get_json(vitlens: Said, command: str) -> None:
    words = [command] if command == "status" else [command, "point_cloud"]
    assert json.loads(vitlens(*words, "--json"))


def test_compare_begins_with_the_headline_and_hides_the_rest(vitlens: Said) -> None:
    short, whole = vitlens("compare", "point_cloud"), vitlens("compare", "point_cloud", "--all")
    rows = [line for line in short.splitlines() if "(0." in line]
    assert "top-1" in rows[0]
    assert "+0.250" in rows[0]
    assert "foundation_image_zero_shot" not in short
    assert "foundation_image_zero_shot" in whole
    assert ".ci95." not in whole  # bounds stand behind their figures
    assert "--all shows" in short


def test_a_report_is_found_by_its_version(vitlens: Said) -> None:
    home = Home.from_environment()
    [second, first] = models.versions(home.root, "point_cloud")
    for model in (first, second):
        folder = home.report_folder(model.evaluation)
        folder.mkdir(parents=True)
        (folder / "report.html").touch()
        page = vitlens("report", "point_cloud", str(model.version))
        assert Path(page.strip()).parent == folder
    assert "has no '7'" in vitlens("report", "point_cloud", "7", code=2)


def test_a_version_moves_to_another_home_in_one_file(
    vitlens: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, home = tmp_path / "model.tar", Home.from_environment().root
    vitlens("export", "point_cloud", "challenger", "--to", str(archive))
    assert "exists; name another file" in vitlens(
        "export", "point_cloud", "--to", str(archive), code=2
    )
    assert "version 2 already" in vitlens("import", str(archive), code=2)
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "other"))
    assert f"{NAME} version 1 is challenger" in vitlens("import", str(archive))
    client = models.connect(tmp_path / "other")
    described = client.get_model_version(NAME, "1").description or ""
    assert f"#/models/{NAME}/versions/1?" in described
    assert "[report]" not in described  # this archive has none
    here, there = (
        models.download(f"models:/{NAME}@challenger", place) for place in (home, tmp_path / "other")
    )
    names = {p.relative_to(here) for p in here.rglob("*") if p.is_file()}
    assert names == {p.relative_to(there) for p in there.rglob("*") if p.is_file()}
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in names)
    assert "no gate of" in vitlens("promote", "point_cloud", code=2)
    assert "is champion" in vitlens("promote", "point_cloud", "--force")


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--json"),
        ("verify",),
        ("history", "point_cloud"),
        ("serve", f"models:/{NAME}@champion", "--index", "/nowhere"),
    ],
    ids=" ".join,
)
def test_a_promotion_that_was_killed_is_completed_and_said(
    vitlens: Said, home: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(writes, "set_alias", killed)
        vitlens("promote", "point_cloud", "--force", code=130)
    assert models.aliases(models.connect(home), NAME)["champion"] == 1
    # The made-up artifacts have no checksums of samples, and there is no such index.
    code = {"verify": 3, "serve": 2}.get(words[0], 0)
    said = " ".join(vitlens(*words, code=code).split())
    assert "the promotion of version 2 by" in said
    assert "they are set now" in said
    assert models.aliases(models.connect(home), NAME) == {"champion": 2, "previous": 1}
    assert "they are set now" not in vitlens("status")


def _rewritten(archive: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> None:
    with tarfile.open(archive) as tar:
        files = [(m.name, tar.extractfile(m).read()) for m in tar]  # ty: ignore
    with tarfile.open(archive, "w") as tar:
        for name, data in [pair for old in files for pair in change(*old)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _flipped(name: str, data: bytes) -> list[tuple[str, bytes]]:
    return [(name, data[:-1] + bytes([data[-1] ^ 1]) if name.endswith("MLmodel") else data)]


def _one_more(name: str, data: bytes) -> list[tuple[str, bytes]]:
    more = [("model/../../escaped", b"x")] if name == "contents.json" else []
    return [(name, data), *more]


def _one_less(name: str, data: bytes) -> list[tuple[str, bytes]]:
    return [] if name.endswith("MLmodel") else [(name, data)]


def _outside(name: str, data: bytes) -> list[tuple[str, bytes]]:
    inside, outside = "model/MLmodel", "model/../../escaped"
    return [(name.replace(inside, outside), data.replace(inside.encode(), outside.encode()))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_flipped, "differs from its SHA-256"),
        (_one_more, "is no file as contents.json lists it"),
        (_one_less, "lacks model/MLmodel"),
        (_outside, "would lie outside of model/"),
    ],
)
def test_an_archive_that_was_changed_registers_nothing(
    vitlens: Said,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[str, bytes], list[tuple[str, bytes]]],
    message: str,
) -> None:
    archive = tmp_path / "model.tar"
    vitlens("export", "point_cloud", "--to", str(archive))
    _rewritten(archive, change)
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "other"))
    result = CliRunner().invoke(main, ["import", str(archive)])
    assert result.exit_code != 0
    assert message in result.output.replace("\n", " ")
    assert models.versions(tmp_path / "other", "point_cloud") == []
    assert not list(tmp_path.rglob("escaped"))


def test_gc_keeps_what_versions_are_made_of(vitlens: Said, home: Path) -> None:
    before = {str(a.folder) for a in Home(home).store.artifacts()}
    spare = Home(home).store.begin("lens", 1, {"nobody": "needs it"}, {}).commit([], {})
    for dry in ((), ("--dry-run",)):
        listed = vitlens("gc", "--older-than", "0", *dry)
        assert f"lens {spare.fingerprint[:12]}" in listed
        assert "could be freed" in listed
    assert spare.folder.exists()
    vitlens("gc", "--older-than", "1", "--delete")
    assert spare.folder.exists()  # too young
    vitlens("gc", "--older-than", "0", "--delete")
    assert {str(a.folder) for a in Home(home).store.artifacts()} == before


def test_gc_deletes_nothing_in_a_store_that_may_serve_others(
    vitlens: Said, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_STORE", str(home / "artifacts"))
    assert "may serve other homes" in vitlens("gc", "--delete", code=2)


def test_config_says_where_every_setting_comes_from(vitlens: Said) -> None:
    words = ("config", "thermal", "--profile", "tiny", "--set", "lens.train.seed=7")
    by_name = {s["name"]: s for s in json.loads(vitlens(*words, "--json"))}
    assert by_name["lens.train.seed"]["origin"] == "--set"
    assert by_name["lens.train.steps"] == {
        "name": "lens.train.steps",
        "value": "3",
        "origin": "profile tiny",
        "description": "optimizer steps",
    }
    assert by_name["source.kind"]["origin"] == "workflow"
    assert by_name["lens.train.betas"]["origin"] == "default"
    assert "lens.train.steps = 3 profile tiny" in vitlens(*words, "--section", "lens.train")


def test_the_version_and_the_module_as_a_program(vitlens: Said) -> None:
    assert vitlens("--version").startswith("vitlens 0.")
