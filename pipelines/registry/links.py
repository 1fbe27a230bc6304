"""links: where a version is shown: its pages of MLflow, its report and its lineage.

Writes    the first paragraph of the descriptions that MLflow shows of a version and of its run.
Promises  links within MLflow are relative and hold wherever it is served. Written again, they
          replace those that stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.registry import writes
from pipelines.registry.server import fragment
from pipelines.registry.tracking import MAX_TAG, NOTE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.registry.version import ModelVersion

REPORT_FOLDER, _PAGE_FILE = "report", "report.html"  # among a run's files
_BEGINNING = "**See also** "


def paths(model: ModelVersion, experiment: str) -> dict[str, str]:
    """Return the paths of a version's pages in MLflow, by what they show.

    Args:
        experiment: id of the experiment of its run.
    """
    run = f"/experiments/{experiment}/runs/{model.run_id}"
    return {
        "version": f"/models/{model.name}/versions/{model.version}",
        "run": run,
        "report": f"{run}/artifacts/{REPORT_FOLDER}/{_PAGE_FILE}",
    }


def write(client: MlflowClient, model: ModelVersion) -> None:
    """Let the pages of a version and of its run name each other, the report and the lineage."""
    run = client.get_run(model.run_id)
    places = paths(model, run.info.experiment_id)
    if not client.list_artifacts(model.run_id, REPORT_FOLDER):  # of an imported version
        del places["report"]
    links = _paragraph(model, places)
    described = client.get_model_version(model.name, str(model.version)).description
    version_text = _begun_with(links, described or "")
    writes.describe_version(client, model.name, str(model.version), version_text)
    run_text = _begun_with(links, run.data.tags.get(NOTE_TAG, ""))
    writes.set_run_tag(client, model.run_id, NOTE_TAG, run_text)


def _paragraph(model: ModelVersion, places: Mapping[str, str]) -> str:
    linked = [f"[{what}]({fragment(path)})" for what, path in places.items()]
    command = f"`vitlens lineage {model.name.removeprefix('vitlens-')} {model.version}`"
    return _BEGINNING + " · ".join([*linked, f"lineage: {command}"])


def _begun_with(links: str, text: str) -> str:
    if text.startswith(_BEGINNING):
        text = text.partition("\n\n")[2]
    return f"{links}\n\n{text}"[:MAX_TAG].rstrip()
