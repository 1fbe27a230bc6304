"""page: renders `report.html` from the report, the drawings and the examples.

The template draws bars and the confusion matrix from plain numbers with the page's own
colours; only clouds, views and curves come as pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.benchmarks.table import figure_cells
from pipelines.connector.figures import naming_table
from pipelines.evaluation import presenter
from pipelines.evaluation.result import read_predictions, read_result
from pipelines.lens.curves import read_curves
from pipelines.report import confusion, curves, gallery
from pipelines.report.content import Report
from pipelines.report.objects_seen import objects_as_read
from pipelines.store.artifacts import Artifact

_TEMPLATES = Path(__file__).parent


def render(artifacts: Mapping[str, Artifact], report: Report) -> str:
    """Render the whole page from a run's artifacts and its report; outside text is escaped."""
    result = read_result(artifacts["evaluation"])
    drawn = curves.drawings(read_curves(artifacts["lens"]))
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            **dict(report),
            generated=presenter.GENERATED,
            ceiling=report.foundation_image_zero_shot,
            zero_shot_table=presenter.zero_shot_table(report),
            retrieval_table=presenter.retrieval_table(report),
            trained_against=presenter.trained_against(report),
            benchmark_lines=[(row, figure_cells(row)) for row in report.benchmarks],
            naming=[(one, naming_table(one)) for one in report.connectors],
            matrix=confusion.matrix(result.classes, result.confusion),
            confusions=confusion.most_frequent(result.classes, result.confusion),
            curves=[Markup(svg) for svg in drawn],  # noqa: S704
            examples=gallery.examples(
                report.modality,
                artifacts["shards"].shards(report.split),
                read_predictions(artifacts["evaluation"]),
            ),
            as_read=objects_as_read(artifacts.get("renders")),
            config_yaml=yaml.safe_dump(report.config, sort_keys=False, allow_unicode=True),
            counts={step: a.manifest.counts for step, a in artifacts.items()},
        )
    )


def templates(*more: Path) -> Environment:
    """Return the environment of the pages' templates, with their filters.

    Args:
        more: further folders of templates beside the report's own.
    """
    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES, *more]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": presenter.percent,
        "bounds": presenter.percent_bounds,
        "words": presenter.words,
        "figure_name": presenter.figure_name,
        "duration": duration,
    }
    return environment


def duration(seconds: float) -> str:
    """Format a duration for people: `0.4 s`, `48 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02d}\u00a0min"
