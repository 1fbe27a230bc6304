"""page: `report.html` out of the facts, the drawings and the examples.

The template draws bars and the confusion matrix from plain numbers with the page's own
colours; only clouds, views and curves come as pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import confusion, curves, gallery
from pipelines.report.facts import Run

_TEMPLATES = Path(__file__).parent
_ZERO_SHOT = {"top1": "Top-1", "top3": "Top-3", "top5": "Top-5", "class_mean": "Class mean"}
_RECALLS = {"r1": "R@1", "r5": "R@5", "r10": "R@10"}


def render(run: Run, facts: dict[str, Any]) -> str:
    """The whole page; everything from outside is escaped."""
    metrics = run.read("evaluation", "metrics.json")
    classes, counts = metrics["classes"], metrics["confusion"]
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            **facts,
            ceiling=facts.get("foundation_image_zero_shot"),
            teacher=facts.get("teacher_zero_shot"),
            fitted=facts.get("calibration"),
            zero_shot_names=_ZERO_SHOT,
            recall_names=_RECALLS,
            matrix=confusion.matrix(classes, counts),
            confusions=confusion.most_frequent(classes, counts),
            curves=[Markup(svg) for svg in curves.drawings(run.read("lens", "curves.json"))],  # noqa: S704
            examples=gallery.examples(
                facts["modality"],
                run.artifacts["shards"].shards(facts["split"]),
                run.read("evaluation", "predictions.json"),
            ),
            config_yaml=yaml.safe_dump(facts["config"], sort_keys=False, allow_unicode=True),
            counts={step: a.manifest.counts for step, a in run.artifacts.items()},
        )
    )


def templates(*more: Path) -> Environment:
    """Where the pages' templates come from, with the filters they use.

    Args:
        more: folders to look into beside the report's own.
    """
    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES, *more]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration, "words": words}
    return environment


def percent(share: float | None, digits: int = 1) -> str:
    """0.5479 → `54.8 %`, with a space that does not break."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.4 s`, `48 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02d}\u00a0min"


def words(name: str) -> str:
    """`point_to_image` → `point → image`; `point_cloud` → `point cloud`."""
    return name.replace("_to_", " → ").replace("_", " ")
