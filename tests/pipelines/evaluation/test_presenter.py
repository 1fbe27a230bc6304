"""The presenter: names, cells and notations, and that every output shows the same."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from pipelines import report
from pipelines.evaluation import presenter
from pipelines.evaluation.result import EvaluationResult, read_result
from pipelines.registry import card
from pipelines.registry.version import ModelVersion
from pipelines.report.content import encode_readable
from pipelines.store.artifacts import Artifact
from pipelines.sweep import SweepResults, page
from pipelines.sweep.results import RESULTS_FILE
from tests.pipelines.finished_run import CONFIG, evaluation, finished_run, predictions, samples
from tests.pipelines.sweep.made_up import point, sweep
from vitlens_core.metrics import Interval
from workflows.metadata import results_table
from workflows.summary import show_summary, show_sweep

MODEL = ModelVersion("vitlens-point_cloud", 1, (), "run", "e", (), "", datetime.now(UTC))


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Artifact]:
    return finished_run(tmp_path)


@pytest.fixture
def result(artifacts: dict[str, Artifact]) -> EvaluationResult:
    return read_result(artifacts["evaluation"])


def rows(result: EvaluationResult) -> list[presenter.Row]:
    tables = (presenter.zero_shot_table(result), presenter.retrieval_table(result))
    return [row for table in tables for row in table.rows]


def cells_beside(text: str, title: str) -> list[str]:
    """The figures in the line of a table that begins with `title`, without marks."""
    [line] = [line for line in text.splitlines() if re.match(rf"\W*{re.escape(title)}\W", line)]
    found = re.findall(r"(\d\.\d+)\D+?(\d\.\d+)–(\d\.\d+)", line)
    return [f"{value} ({low}–{high})" for value, low, high in found]


def printed(show: Callable[[Console, Path], object], folder: Path) -> str:
    text = io.StringIO()
    show(Console(file=text, width=200), folder)
    return text.getvalue()


def test_terminal_card_and_dagster_show_the_same_cells(
    artifacts: dict[str, Artifact], result: EvaluationResult, tmp_path: Path
) -> None:
    folder = report.write(tmp_path, CONFIG, artifacts, (), MODEL)
    texts = {
        "terminal": printed(show_summary, folder),
        "card": card.write(artifacts),
        "dagster": results_table(result),
    }
    for row in rows(result):
        expected = [str(found) for found in row.cells]
        assert expected
        for where, text in texts.items():
            assert cells_beside(text, row.title) == expected, (where, row.title)


def test_the_pages_show_the_same_figures_as_percentages(
    artifacts: dict[str, Artifact], result: EvaluationResult, tmp_path: Path
) -> None:
    shown = (report.write(tmp_path, CONFIG, artifacts, (), MODEL) / "report.html").read_text()
    for row in rows(result):
        for figure in row.figures:
            assert figure
            cell = f"<b>{presenter.percent(figure.value)}</b>"
            assert f"{cell}<small>{presenter.percent_bounds(figure)}</small>" in shown
    results = SweepResults.of(sweep(point(tmp_path / "sweep", "a", 0.5, 0.25)))
    [made] = results.made
    top1 = made.zero_shot.top1
    cell = f"<b>{presenter.percent(top1.value)}</b><small>{presenter.percent_bounds(top1)}</small>"
    assert cell in page.render(results)


def test_the_sweeps_table_on_the_terminal_shows_the_same_cell(tmp_path: Path) -> None:
    results = SweepResults.of(sweep(point(tmp_path / "a", "a", 0.5, 0.25)))
    (tmp_path / RESULTS_FILE).write_bytes(encode_readable(results))
    text = printed(show_sweep, tmp_path)
    assert cells_beside(text, "a")[-1] == str(presenter.cell(results.made[0].zero_shot.top1))


def test_an_emergent_result_is_called_so_everywhere(tmp_path: Path) -> None:
    weights = {"image": 1.0}
    artifacts = finished_run(tmp_path, supervision=weights)
    folder = report.write(tmp_path, CONFIG, artifacts, (), MODEL)
    assert "emergent zero-shot" in printed(show_summary, folder)
    assert "| emergent zero-shot |" in card.write(artifacts)
    assert "| emergent zero-shot |" in results_table(read_result(artifacts["evaluation"]))
    assert "Emergent zero-shot classification" in (folder / "report.html").read_text()


def test_every_teacher_has_its_row() -> None:
    made = evaluation(predictions(samples(), right=0.5))
    taught = made.model_copy(
        update={"teacher_zero_shot": {"depth": made.zero_shot, "sound": made.zero_shot}}
    )
    titles = [row.title for row in presenter.zero_shot_table(taught).rows]
    assert titles == ["lens", "teacher depth", "teacher sound", "foundation, on images"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("top1", "top-1"),
        ("class_mean", "class mean"),
        ("r10", "R@10"),
        ("text_to_audio_r1", "text → audio R@1"),
        ("composed_r5", "composed R@5"),
        ("map", "mAP"),
        ("ece_fitted", "ECE fitted"),
    ],
)
def test_figures_have_the_names_of_the_field(name: str, shown: str) -> None:
    assert presenter.figure_name(name) == shown


def test_a_figure_is_told_as_a_fraction_or_in_percent() -> None:
    figure = Interval(0.5479, 0.3201, 0.5306)
    assert str(presenter.cell(figure)) == "0.548 (0.32–0.53)"
    assert str(presenter.cell(figure, digits=3)) == "0.548 (0.320–0.531)"
    assert presenter.percent(figure.value) == "54.8\u00a0%"
    assert presenter.percent_bounds(figure) == "32.0–53.1\u00a0%"
    assert presenter.percent(None) == "–"
