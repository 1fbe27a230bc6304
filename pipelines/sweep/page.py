"""page: renders `sweep.html` from the results, with the report's styles."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from pipelines.evaluation import presenter
from pipelines.report.page import templates
from pipelines.sweep import plot
from pipelines.sweep.results import SweepResults


def render(results: SweepResults) -> str:
    """Render the whole page; all text from outside is escaped."""
    ways = dict.fromkeys(way for point in results.made for way in point.retrieval)
    return (
        templates(Path(__file__).parent)
        .get_template("sweep.html.j2")
        .render(
            **dict(results),
            generated=presenter.GENERATED,
            made=results.made,
            failed=results.failed,
            ways=list(ways),
            plot=Markup(plot.inline(results)),  # noqa: S704
        )
    )
