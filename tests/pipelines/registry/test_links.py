"""The pages of a version and its run name each other, the report and the lineage."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.registry import models
from pipelines.registry.registry import Registry
from pipelines.registry.tracking import MAX_TAG, NOTE_TAG
from pipelines.registry.version import ModelVersion
from tests.pipelines.registered import NAME, register


def descriptions(home: Path, model: ModelVersion) -> tuple[str, str]:
    """What MLflow shows of a version, and of its run."""
    client = models.connect(home)
    version = client.get_model_version(model.name, str(model.version)).description
    return version or "", client.get_run(model.run_id).data.tags[NOTE_TAG]


def report_of(home: Path, content: str = "") -> Path:
    folder = home / "a-report"
    folder.mkdir(exist_ok=True)
    for name in ("report.json", "report.html"):
        (folder / name).write_text(content)
    return folder


def test_version_and_run_link_to_each_other(home: Path) -> None:
    model = register(home)
    before = descriptions(home, model)
    models.log_report(home, model, report_of(home))
    client = models.connect(home)
    experiment = client.get_run(model.run_id).info.experiment_id
    for text, card in zip(descriptions(home, model), before, strict=True):
        links = dict(re.findall(r"\[(\w+)\]\((\S+)\)", text.partition("\n\n")[0]))
        run = f"#/experiments/{experiment}/runs/{model.run_id}"
        assert links["version"].startswith(f"#/models/{NAME}/versions/{model.version}?")
        assert links["run"].startswith(f"{run}?")
        assert links["report"].startswith(f"{run}/artifacts/report/report.html?")
        assert f"`vitlens lineage point_cloud {model.version}`" in text
        assert card[:1000] in text
        assert len(text) <= MAX_TAG
    logged = {file.path for file in client.list_artifacts(model.run_id, "report")}
    assert "report/report.html" in logged


def test_links_are_there_once_however_often_a_version_is_reported(home: Path) -> None:
    model = register(home)
    models.log_report(home, model, report_of(home))
    once = descriptions(home, model)
    models.log_report(home, model, report_of(home, "another"))
    assert descriptions(home, model) == once


def test_addresses_lead_to_the_same_pages(home: Path) -> None:
    model = register(home)
    models.log_report(home, model, report_of(home))
    text = descriptions(home, model)[0]
    for what, address in Registry(home).pages(model).items():
        base, _, path = address.partition("/#")
        assert base == "http://127.0.0.1:5000"
        assert f"[{what}](#{path})" in text
