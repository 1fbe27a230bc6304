"""presenter: formats figures for people, the same way in every output.

terminal, model card, Dagster, benchmarks   0.421 (0.32–0.53)     markdown, str(cell)
pages of report and sweep                   42.1 %, 31.6–52.6 %   percent, percent_bounds
drawings, tables of numbers                 the names alone       figure_name
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.evaluation.result import EvaluationSummary, Recalls, Scores
from vitlens_core.intervals import FEW_GROUPS, Interval

_SCORES = ("top1", "top3", "top5", "class_mean")
_RECALLS = ("r1", "r5", "r10")
_NAMES = {"top1": "top-1", "top3": "top-3", "top5": "top-5", "map": "mAP", "ece": "ECE"}
_NAMES |= {rank: rank.replace("r", "R@") for rank in _RECALLS}
GENERATED = "generated data: no figure here says anything of real recordings"


@dataclass(frozen=True)
class Cell:
    """A figure and its bounds as texts."""

    value: str
    bounds: str

    def __str__(self) -> str:
        return f"{self.value} ({self.bounds})" if self.bounds else self.value


@dataclass(frozen=True)
class Row:
    """The figures of one thing, a column each."""

    title: str
    figures: tuple[Interval | None, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell(figure) if figure else Cell("–", "") for figure in self.figures)


@dataclass(frozen=True)
class FigureTable:
    """Figures of one kind.

    Attributes:
        columns: names of the figures, as `figure_name` has them.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def zero_shot_table(summary: EvaluationSummary) -> FigureTable:
    """Build the table of the lens and, if there are any, its teachers and its ceiling."""
    scores_of = {
        "lens": summary.zero_shot,
        **{f"teacher {name}": scores for name, scores in summary.teacher_zero_shot.items()},
        "foundation, on images": summary.foundation_image_zero_shot,
    }
    title = "emergent zero-shot" if summary.emergent else "zero-shot"
    if summary.classes_by == "prototypes":
        title = "zero-shot, by prototypes of training pictures"
    return _table(title, {name: scores for name, scores in scores_of.items() if scores}, _SCORES)


def retrieval_table(summary: EvaluationSummary) -> FigureTable:
    """Build the table of retrieval, a row per way; empty without pictures and texts."""
    recalls_of = {words(way): recalls for way, recalls in summary.retrieval.items()}
    return _table("retrieval", recalls_of, _RECALLS)


def basis(scores: Scores) -> str:
    """`76 samples`, or `301 samples of 2 groups (few: intervals by Student's t)`."""
    few = f" of {scores.groups} groups (few: intervals by Student's t)"
    return f"{scores.n} samples{few if scores.groups < FEW_GROUPS else ''}"


def trained_against(summary: EvaluationSummary) -> str:
    """`image, text`."""
    return ", ".join(summary.supervision.kinds)


def figure_name(name: str) -> str:
    """`top1` → `top-1`; `text_to_audio_r1` → `text → audio R@1`."""
    return " ".join(_NAMES.get(part, part) for part in words(name).split(" "))


def words(name: str) -> str:
    """`point_to_image` → `point → image`; `point_cloud` → `point cloud`."""
    return name.replace("_to_", " → ").replace("_", " ")


def fraction(share: float, digits: int = 3) -> str:
    """0.5479 → `0.548`."""
    return f"{share:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.5479 → `54.8 %`, with a space that does not break; `–` where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"


def percent_bounds(figure: Interval) -> str:
    """`32.0–53.1 %`."""
    return f"{100 * figure.low:.1f}–{percent(figure.high)}"


def cell(figure: Interval, digits: int = 2) -> Cell:
    """Format a figure and its bounds as fractions.

    Args:
        digits: number of digits of the bounds.
    """
    bounds = f"{fraction(figure.low, digits)}–{fraction(figure.high, digits)}"
    return Cell(fraction(figure.value), bounds)


def markdown(table: FigureTable) -> str:
    """The table with its title over the rows."""
    lines = [[table.title, *table.columns], ["---"] * (len(table.columns) + 1)]
    lines += [[row.title, *map(str, row.cells)] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(
    title: str, figures_of: Mapping[str, Scores | Recalls], names: Sequence[str]
) -> FigureTable:
    """Build a table; a figure that no row has gets no column."""
    present = [n for n in names if any(getattr(figures, n) for figures in figures_of.values())]
    rows = tuple(
        Row(name, tuple(getattr(figures, n) for n in present))
        for name, figures in figures_of.items()
    )
    return FigureTable(title, tuple(map(figure_name, present)), rows)
