"""`vitlens new`: three files, which work as they are, or a message and nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.registry import models
from tests.workflows.new_modality import ROOT, copy_checkout, git, run, write_recordings
from vitlens_core.errors import ConfigError
from workflows import scaffold
from workflows.cli import main
from workflows.exit_codes import MISTAKE
from workflows.spec import Workflow

SCIENCE, WORKFLOW, TEST = (path.format(name="sonar") for path in scaffold.FILES.values())
pytestmark = pytest.mark.timeout(900)
SHORTEST, LONGEST = "x", "very_long_wave_infrared_radiance"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The folders of a checkout, without what lies in them."""
    (tmp_path / "pyproject.toml").touch()
    for path in (SCIENCE, TEST, WORKFLOW.replace("/sonar", "")):
        (tmp_path / path).parent.mkdir(parents=True)
    return tmp_path


def new(into: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ("new", "--into", str(into), *arguments))


def files(root: Path) -> set[str]:
    """All but the project's own."""
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return found - {"pyproject.toml"}


# --- what is written --------------------------------------------------------------------------


def test_three_files_are_written_and_the_next_steps_said(bare: Path) -> None:
    result = new(bare, "sonar", "--description", "Echoes, heard on the sea's floor.")
    assert result.exit_code == 0, result.output
    assert files(bare) == {SCIENCE, WORKFLOW, TEST}
    for words in (SCIENCE, WORKFLOW, TEST, "CHANGE", "vitlens run sonar --profile tiny"):
        assert words in result.output
    attributes = yaml.safe_load((bare / WORKFLOW).read_text())["attributes"]
    assert Workflow.model_validate(attributes).description == "Echoes, heard on the sea's floor."


def test_each_file_says_what_to_change() -> None:
    for path, text in scaffold.rendered("sonar").items():
        assert "CHANGE:" in text, path


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.isprintable))
@example('"quoted": {{ braces }} # and \\backslashes')
def test_any_line_can_describe_a_modality(line: str) -> None:
    if not line.strip():
        return
    text = scaffold.rendered("sonar", line)[WORKFLOW]
    assert yaml.safe_load(text)["attributes"]["description"] == line


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Sonar", "expected lower_snake_case of at most 32 characters"),
        ("so nar", "found 'so nar'"),
        ("so-nar", "found 'so-nar'"),
        ("../sonar", "found '../sonar'"),
        ("2d", "found '2d'"),
        ("_sonar", "found '_sonar'"),
        ("so__nar", "found 'so__nar'"),
        ("sonár", "found 'sonár'"),
        ("sonar\n", "found 'sonar"),
        ("", "found ''"),
        ("s" * 33, "at most 32 characters"),
        ("lambda", "'lambda' is a keyword"),
        ("match", "'match' is a keyword"),
        ("audio", "there is a modality 'audio' already"),
        ("image", "there is a modality 'image' already"),
        ("load", "would hide vitlens_core.modalities.load"),
        ("touch", "'touch' already names tactile"),
        ("log_mel", "'log_mel' already names audio"),
    ],
)
def test_a_name_that_cannot_be_is_refused(bare: Path, name: str, words: str) -> None:
    result = new(bare, "--", name)
    assert result.exit_code == MISTAKE
    assert words in result.output
    assert not files(bare)


@pytest.mark.parametrize("line", ["", "  ", "two\nlines", "a bell\a"])
def test_a_description_is_one_line(bare: Path, line: str) -> None:
    result = new(bare, "sonar", "--description", line)
    assert result.exit_code == MISTAKE
    assert "expected one line of text" in result.output
    assert not files(bare)


@pytest.mark.parametrize("path", [SCIENCE, WORKFLOW, TEST])
def test_what_exists_is_not_touched(bare: Path, path: str) -> None:
    (bare / path).parent.mkdir(exist_ok=True)
    (bare / path).write_text("mine")
    result = new(bare, "sonar")
    assert result.exit_code == MISTAKE
    assert f"{path} exist already" in result.output
    assert files(bare) == {path}
    assert (bare / path).read_text() == "mine"


@pytest.mark.parametrize("folder", [WORKFLOW, TEST])
def test_nothing_is_left_of_an_attempt_that_fails(bare: Path, folder: str) -> None:
    blocked = (bare / folder).parent
    if blocked.exists():
        blocked.rmdir()
    blocked.write_text("a file where a folder must be")
    result = new(bare, "sonar")
    assert result.exit_code == MISTAKE
    assert "nothing was added: cannot write" in result.output
    assert files(bare) == {str(blocked.relative_to(bare))}
    assert not (bare / WORKFLOW).parent.is_dir()


def test_an_installed_package_is_no_place_for_a_modality(bare: Path) -> None:
    assert scaffold.checkout() == ROOT
    assert scaffold.checkout(bare) == bare
    (bare / "pyproject.toml").unlink()  # as in site-packages
    with pytest.raises(ConfigError, match=f"{bare} is no source checkout"):
        scaffold.checkout(bare)


# --- in a copy of the checkout ----------------------------------------------------------------


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout after `vitlens new sonar`."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_checkout(folder)
    run(folder, "vitlens", "new", "sonar")
    return folder


def test_the_diff_is_three_new_files_as_the_tutorial_shows(grown: Path) -> None:
    git(grown, "add", "--intent-to-add", ".")
    assert git(grown, "status", "--porcelain").split() == ["A", TEST, "A", SCIENCE, "A", WORKFLOW]
    assert (
        git(grown, "diff", "--stat=80")
        in (ROOT / "docs" / "tutorials" / "own-modality.md").read_text()
    )


def test_the_files_are_clean_as_written(grown: Path) -> None:
    run(grown, "ruff", "check", "--no-cache", SCIENCE, TEST)
    run(grown, "ruff", "format", "--check", "--no-cache", SCIENCE, TEST)
    run(grown, "ty", "check", "--python", sys.prefix, SCIENCE, TEST)


@pytest.mark.parametrize("name", [SHORTEST, LONGEST, "np"])
def test_names_of_any_length_give_clean_files(grown: Path, name: str) -> None:
    written = scaffold.create(grown, name)
    try:
        python = [str(path) for path in written if path.suffix == ".py"]
        run(grown, "ruff", "check", "--no-cache", *python)
        run(grown, "ruff", "format", "--check", "--no-cache", *python)
    finally:
        for path in written:
            (grown / path).unlink()


@pytest.mark.nightly
def test_the_modality_keeps_every_contract(grown: Path) -> None:
    contracts = ("tests/contracts", "tests/vitlens_core/test_export.py")
    done = run(grown, "pytest", "-v", "-p", "no:cacheprovider", *contracts, TEST, "-k", "sonar")
    for test in (
        "test_modalities",
        "test_malformed",
        "test_workflows",
        "test_export",
        "test_sonar",
    ):
        assert f"{test}.py::" in done.stdout


@pytest.mark.nightly
def test_the_modality_runs_from_its_files_to_a_registered_model(
    grown: Path, tmp_path: Path
) -> None:
    write_recordings(grown / SCIENCE, tmp_path, per_class=8)
    done = run(
        grown, "vitlens", "run", "sonar", "--profile", "tiny", "--set", f"source.root={tmp_path}"
    )
    home = grown / ".vitlens"
    [version] = models.versions(home, "sonar")
    assert (version.name, version.aliases) == ("vitlens-sonar", ("champion",))
    report = json.loads((home / "latest" / "report.json").read_text())
    assert report["modality"] == "sonar"
    assert set(report["retrieval"]) == {"sonar_to_text", "sonar_to_image"}
    assert report["objects"] == {"ok": 24, "quarantined": 0}
    assert "Sonar lens" in (home / "latest" / "report.html").read_text()
    [model] = home.glob("mlartifacts/**/MLmodel")
    assert (model.parent / "code/vitlens_core/modalities/sonar.py").is_file()
    assert "version 1 (champion)" in done.stdout
