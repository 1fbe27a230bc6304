"""The `vitlens` command: messages and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipelines.execution.told import tell, told
from tests.conftest import ROOT
from tests.workflows.stage import Stage
from vitlens_core.errors import ConfigError, TransientError
from workflows.cli import main
from workflows.exit_codes import FAILED, GATE_FAILED, INTERRUPTED, MISTAKE

TINY = ("run", "point_cloud", "--profile", "tiny")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    return tmp_path


def vitlens(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "point_clod"), ("unknown modality 'point_clod'", "point_cloud")),
        (("run", "point_cloud", "--profile", "dmo"), ("did you mean demo?", "full", "tiny")),
        ((*TINY, "--set", "objects"), ("'objects'", "section.key=value")),
        ((*TINY, "--set", "renders.size_pix=64"), ("did you mean size_px?",)),
        ((*TINY, "--set", "objects.mirror=/nowhere"), ("no Objaverse mirror at '/nowhere'",)),
        ((*TINY, "--set", "foundation.spec=clip:ViT-L-14"), ("clip:ViT-L-14", "open_clip:<model>")),
        ((*TINY, "--set", "foundation.spec=open_clip:ViT-L-14/none"), ("datacomp_xl_s13b_b90k",)),
        (("run",), ("Missing argument 'MODALITY'",)),
        (("report",), ("no report", "vitlens run MODALITY")),
    ],
)
def test_a_mistake_is_explained_without_a_traceback(
    home: Path, arguments: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    result = vitlens(*arguments)

    assert result.exit_code == MISTAKE
    assert "Traceback" not in result.output
    for words in expected:
        assert words in result.output
    assert not any(home.iterdir()), "nothing may be made for a run that cannot start"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("statsu",), "did you mean status? there are: ask, backfill"),
        (("Status",), "did you mean status?"),
        (("run", "--profle", "demo"), "Did you mean '--profile'?"),
        (("run",), "There are: audio, depth"),
        (("compare",), "There are: audio, depth"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(
    arguments: tuple[str, ...], expected: str
) -> None:
    result = vitlens(*arguments)
    assert result.exit_code == MISTAKE
    assert expected in " ".join(result.output.split())


def test_a_run_ends_with_a_summary(stage: Stage) -> None:
    result = stage.vitlens(*TINY)

    assert result.exit_code == 0, result.output
    for words in ("1.000", "gate times_chance passed", "version 1 (champion)", "report.html"):
        assert words in result.output


def test_compiling_without_a_compiler_is_refused_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = vitlens(*TINY, "--set", "resources.compile=true")
    assert result.exit_code == MISTAKE
    assert "no C++ compiler found; install g++" in " ".join(result.output.split())


def test_a_failed_gate_exits_1_and_says_which(stage: Stage) -> None:
    stage.top1 = 0.5
    result = stage.vitlens(*TINY, "--set", "gates.times_chance.min=8")

    assert result.exit_code == GATE_FAILED
    assert "not promoted to champion: times_chance failed" in result.output
    assert "version 1 (challenger)" in result.output


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (ConfigError("no such weights"), MISTAKE, ("no such weights",)),
        (TransientError("the mirror is busy"), FAILED, ("the mirror is busy",)),
        (ZeroDivisionError("of none"), FAILED, ("ZeroDivisionError: of none", ".log", "--debug")),
        (told(tell(KeyError("a bone"))), FAILED, ("KeyError: 'a bone'", ".log", "--debug")),
        (KeyboardInterrupt(), INTERRUPTED, ("run the same command again to go on",)),
    ],
)
def test_what_a_step_raises_becomes_a_message(
    stage: Stage, error: BaseException, code: int, expected: tuple[str, ...]
) -> None:
    stage.failure = ("shards", error)
    result = stage.vitlens(*TINY)

    assert result.exit_code == code
    assert "Traceback" not in result.output
    for words in expected:
        assert words in result.output


def test_debug_shows_the_traceback(stage: Stage) -> None:
    stage.failure = ("shards", ZeroDivisionError("of none"))

    assert "Traceback" in stage.vitlens("--debug", *TINY).output


def test_runs_of_the_command_line_are_in_the_history_of_the_ui(stage: Stage) -> None:
    (stage.home / "dagster" / "dagster.yaml").unlink()  # what is written by default
    stage.vitlens(*TINY)
    from dagster import DagsterInstance, DagsterRunStatus

    with DagsterInstance.from_config(str(stage.home / "dagster")) as instance:
        [run] = instance.get_runs()
    assert (run.job_name, run.status) == ("point_cloud", DagsterRunStatus.SUCCESS)
    assert "'profile': 'tiny'" in str(run.run_config)


@pytest.mark.parametrize("module", ["workflows", "workflows.cli"])
def test_the_modules_are_the_command(module: str) -> None:
    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    assert ran("--version").stdout == vitlens("--version").output
    # As words: the lines are as wide as the terminal is.
    listed, expected = (text.split() for text in (ran("--help").stdout, vitlens("--help").output))
    assert listed[listed.index("Commands:") :] == expected[expected.index("Commands:") :]
    mistaken = ran("run", "point_clod")
    assert (mistaken.returncode, mistaken.stdout) == (MISTAKE, "")
    assert "unknown modality 'point_clod'" in mistaken.stderr


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")]
)
def test_shells_complete_commands(shell: str, word: str) -> None:
    """With the lines that docs/reference/cli.md gives."""
    asked = f"_VITLENS_COMPLETE={shell}_source vitlens"
    assert asked in (ROOT / "docs/reference/cli.md").read_text()
    script = _completing({"_VITLENS_COMPLETE": f"{shell}_source"})
    assert word in script
    assert "vitlens" in script
    begun = {
        "_VITLENS_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "vitlens ro",
        "COMP_CWORD": "1",
    }
    if shell == "fish":
        begun["COMP_CWORD"] = "ro"
    assert "rollback" in _completing(begun)


def _completing(environment: dict[str, str]) -> str:
    return CliRunner(env=environment).invoke(main, prog_name="vitlens").output


def test_status_of_an_empty_home() -> None:
    result = vitlens("status")

    assert result.exit_code == 0
    assert "no artifacts yet" in result.output
    assert "no version yet: audio, depth" in result.output


def test_status_lists_artifacts_and_versions(stage: Stage) -> None:
    stage.vitlens(*TINY)
    half_made = stage.home / "artifacts" / "shards" / "half-made"
    half_made.mkdir()
    for name in ("train-00000", "test-00000"):
        (half_made / f"{name}.record.json").write_text("{}")
    output = stage.vitlens("status").output

    assert "8 samples" in stage.vitlens("status", "--all").output
    assert "2 shards" in output
    assert "unfinished" in output
    assert "champion" in output


def test_report_prints_the_path(stage: Stage) -> None:
    stage.vitlens(*TINY)

    assert stage.vitlens("report").output.split() == [str(stage.home / "latest" / "report.html")]
