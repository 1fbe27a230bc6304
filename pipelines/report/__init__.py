"""report: reports a run's results to people (`report.html`) and programs (`report.json`).

Reads     the artifacts of a run, its gate results and the registered version; the figures of
          connectors that were measured with them later.
Writes    `<home>/reports/<evaluation fingerprint>/report.{json,html}`; `<home>/latest` is a
          link to the newest one.
Promises  the page is one file that needs no network; both files appear whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, JsonValue

from pipelines.connector.figures import ConnectorFigures
from pipelines.registry.gates.base import GateResult
from pipelines.registry.version import ModelVersion
from pipelines.report.content import (
    PAGE_FILE,
    REPORT_FILE,
    Report,
    Run,
    connectors_in,
    encode_readable,
)
from pipelines.report.page import render
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic


def write(
    home: Path,
    config: BaseModel | Mapping[str, JsonValue],
    artifacts: Mapping[str, Artifact],
    gates: Sequence[GateResult],
    model: ModelVersion | None,
    profile: str | None = None,
    pages: Mapping[str, str] | None = None,
) -> Path:
    """Write both files and point `latest` at them.

    Connectors that an earlier report of the same evaluation states are kept.

    Args:
        config: all settings of the run.
        artifacts: the artifacts of the flow by step, up to `evaluation`.
        model: the registered version with its present aliases; None if there is none.
        profile: name of the profile of the settings.
        pages: addresses in MLflow by what they show, as `Registry.pages`.

    Returns:
        The folder of the two files.
    """
    run = Run(config, artifacts, gates, model, profile, pages or {})
    folder = home / "reports" / artifacts["evaluation"].fingerprint[:16]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, artifacts, Report.of(run, connectors_in(folder)))
    _point(home / "latest", folder)
    return folder


def add_connector(
    folder: Path, artifacts: Mapping[str, Artifact], measured: ConnectorFigures
) -> None:
    """State a connector in the report of the run whose lens it was measured with.

    Args:
        folder: of the report; the connector takes the place of an earlier one of the same model.
        artifacts: of that run by step, up to `evaluation`.
    """
    _write(folder, artifacts, Report.read(folder).with_connector(measured))


def _write(folder: Path, artifacts: Mapping[str, Artifact], report: Report) -> None:
    write_atomic(folder / PAGE_FILE, render(artifacts, report).encode())
    write_atomic(folder / REPORT_FILE, encode_readable(report))


def _point(link: Path, folder: Path) -> None:
    """Point `link` at `folder` by a rename, so that it always leads somewhere."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.relative_to(link.parent))
    fresh.replace(link)
