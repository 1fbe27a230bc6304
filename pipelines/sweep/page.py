"""page: `sweep.html` out of the facts, with the report's styles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines.report.page import templates
from pipelines.sweep import plot


def render(facts: Mapping[str, Any]) -> str:
    """The whole page; everything from outside is escaped."""
    made = [point for point in facts["points"] if not point["failure"]]
    recalls = dict.fromkeys(name for point in made for name in point["retrieval"])
    return (
        templates(Path(__file__).parent)
        .get_template("sweep.html.j2")
        .render(
            **facts,
            made=made,
            failed=[point for point in facts["points"] if point["failure"]],
            recalls=list(recalls),
            plot=Markup(plot.inline(facts)),  # noqa: S704
        )
    )
