"""The exporter: what Prometheus is told of the store, the registry, trainings and runs."""

from __future__ import annotations

import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families as parse

from pipelines.execution.logger import Point, Training
from pipelines.execution.shard_tasks import ShardRecord
from pipelines.registry import figures, models, promotion, tracking
from pipelines.store.artifacts import Quarantined
from pipelines.store.files import write_atomic
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from tests.pipelines.registered import NAME, register
from workflows.backups.contents import STATED
from workflows.backups.last import LAST
from workflows.backups.making import back_up
from workflows.backups.places import Places
from workflows.exporter.collector import SourcesCollector
from workflows.exporter.opening import open_collector
from workflows.exporter.runs import read_runs
from workflows.workplace import Workplace

Figures = dict[tuple[str, ...], float]


def scraped(collector: SourcesCollector) -> Figures:
    """Every sample, by its name and the values of its labels, sorted by the labels' names."""
    registry = CollectorRegistry()
    registry.register(collector)
    families = parse(generate_latest(registry).decode())
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def collector(home: Path, monkeypatch: pytest.MonkeyPatch) -> SourcesCollector:
    monkeypatch.setenv("VITLENS_HOME", str(home))
    monkeypatch.delenv("VITLENS_STORE", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by the exporter itself; undone with the test
    return open_collector(Workplace.from_environment())


def building(home: Path, name: str, samples: int, quarantined: int = 0) -> None:
    """A finished shard of an artifact that is being made."""
    build = Home(home).store.begin("shards", 1, {"made": "up"}, {})
    file = write_atomic(build.folder / f"{name}.tar", b"12345")
    bad = [Quarantined(key=str(n), step="shards", reason="torn") for n in range(quarantined)]
    record = ShardRecord(file=file, samples=samples, quarantined=tuple(bad))
    write_atomic(build.folder / f"{name}.record.json", encode_model(record))


def artifact_of(figures: Figures) -> str:
    [artifact] = {key[1] for key in figures if key[0] == "vitlens_building_shards"}
    return artifact


def test_an_empty_home_has_no_artifacts_and_no_versions(collector: SourcesCollector) -> None:
    collector.refresh_all()
    figures = scraped(collector)
    sources = {key[1]: v for key, v in figures.items() if key[0] == "vitlens_source_up"}
    assert sources == dict.fromkeys(("store", "registry", "trainings", "dagster", "backup"), 1)
    assert not [key for key in figures if key[0].startswith("vitlens_backup")]
    assert figures["vitlens_model_versions", "point_cloud"] == 0
    assert figures["vitlens_runs", "failure", "point_cloud"] == 0
    assert not [key for key in figures if key[0].startswith("vitlens_artifact")]


def test_no_label_is_one_that_prometheus_sets_itself(
    home: Path, collector: SourcesCollector
) -> None:
    """It would put its own in the place, and every run would be of the job `exporter`."""
    register(home)
    building(home, "train-00000", samples=8)
    collector.refresh_all()
    labels = {
        label
        for family in collector.collect()
        for sample in family.samples
        for label in sample.labels
    }
    assert {"workflow", "step", "modality"} <= labels
    assert not labels & {"job", "instance"}


def test_finished_artifacts_and_the_champion_are_counted(
    home: Path, collector: SourcesCollector
) -> None:
    model = register(home)
    promotion.promote(home, NAME, model.version)
    collector.refresh_all()
    figures = scraped(collector)
    made = Home(home).store.artifacts()
    for artifact in made:
        step = artifact.manifest.step
        alike = [a.manifest for a in made if a.manifest.step == step]
        assert figures["vitlens_artifacts", step] == len(alike)
        size = sum(file.size_bytes for manifest in alike for file in manifest.files)
        assert figures["vitlens_artifact_bytes", step] == size
    assert figures["vitlens_champion_version", "point_cloud"] == model.version
    assert figures["vitlens_newest_failed_gates", "point_cloud"] == 0
    assert figures["vitlens_champion_created_seconds", "point_cloud"] == pytest.approx(
        model.created_at.timestamp()
    )


def test_versions_of_many_modalities_are_those_of_each(home: Path) -> None:
    promotion.promote(home, NAME, register(home, 0.5).version)
    register(home, 0.75)
    found = models.by_modality(home, ["point_cloud", "depth"])
    assert found == {"point_cloud": models.versions(home, "point_cloud"), "depth": []}
    assert len(found["point_cloud"]) == 2


def test_the_failed_gates_of_the_newest_version_are_counted(
    home: Path, collector: SourcesCollector
) -> None:
    register(home, right=0.5, at_least=0.9)
    collector.refresh_all()
    figures = scraped(collector)
    assert figures["vitlens_newest_failed_gates", "point_cloud"] == 1
    assert ("vitlens_champion_version", "point_cloud") not in figures


def test_shards_of_an_unfinished_artifact_are_counted_as_they_come(
    home: Path, collector: SourcesCollector
) -> None:
    building(home, "train-00000", samples=8)
    collector.refresh_all()
    first = scraped(collector)
    building(home, "train-00001", samples=6, quarantined=2)
    folder = Home(home).store.begin("shards", 1, {"made": "up"}, {}).folder
    write_atomic(folder / "train-00002.attempt", b"here\nhere\nhere")
    collector.refresh_all()
    second = scraped(collector)
    key = (artifact_of(first), "shards")
    assert first["vitlens_building_samples", *key] == 8
    assert second["vitlens_building_samples", *key] == 14
    assert second["vitlens_building_shards", *key] == 2
    assert second["vitlens_building_bytes", *key] == 10
    assert second["vitlens_building_quarantined", *key] == 2
    assert second["vitlens_building_retries", *key] == 2


def test_a_running_training_shows_its_last_figures_until_it_ends(
    home: Path, collector: SourcesCollector
) -> None:
    client = models.connect(home)
    training = Training(modality="depth", fingerprint="f" * 64, steps=9, config={"steps": 9})
    run = tracking.start_training(client, models.experiment(client, home), training)
    figures.log_points(client, run, [Point(1, {"train.loss": 3.0}), Point(2, {"train.loss": 2.5})])
    collector.refresh_all()
    assert scraped(collector)["vitlens_training_figure", "train.loss", "depth", run] == 2.5
    tracking.end_training(client, run, None)
    collector.refresh_all()
    assert not [key for key in scraped(collector) if key[0] == "vitlens_training_figure"]


def test_the_last_backup_is_shown_and_a_damaged_note_of_it_is_reported(
    home: Path, collector: SourcesCollector, tmp_path: Path
) -> None:
    began = time.time()
    made, _ = back_up(Places(Home(home)), tmp_path / "kept")
    collector.refresh_all()
    figures = scraped(collector)
    assert began <= figures["vitlens_backup_timestamp_seconds",] <= time.time()
    held = sum(f.stat().st_size for f in made.rglob("*") if f.is_file() and f.name != STATED)
    assert figures["vitlens_backup_bytes",] == held
    (Home(home).store.root / LAST).write_text("{")
    collector.refresh_all()
    figures = scraped(collector)
    assert figures["vitlens_source_up", "backup"] == 0
    assert figures["vitlens_backup_bytes",] == held


def test_a_source_that_fails_keeps_its_figures_and_is_reported() -> None:
    answers = [[GaugeMetricFamily("a", "a", value=1)], OSError("gone")]

    def read() -> list[GaugeMetricFamily]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    collector = SourcesCollector({"first": read, "second": list})
    collector.refresh_all()
    assert scraped(collector)["vitlens_source_up", "first"] == 1
    collector.refresh_all()
    figures = scraped(collector)
    assert figures["vitlens_source_up", "first"] == 0
    assert figures["a",] == 1
    assert figures["vitlens_source_up", "second"] == 1


@pytest.mark.parametrize(("state", "is_stale"), [("FAIL", 1), ("PASS", 0)])
def test_a_stale_champion_is_told(tmp_path: Path, state: str, is_stale: int) -> None:
    key = dg.AssetKey(["depth", "champion"])
    changed = FreshnessStateChange(
        key=key,
        previous_state=FreshnessState.UNKNOWN,
        new_state=FreshnessState[state],
        state_change_timestamp=time.time(),
    )
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.report_runless_asset_event(changed)
        families = {f.name: f for f in read_runs(instance, ["depth", "audio"])}
    samples = families["vitlens_champion_stale"].samples
    assert [(s.labels, s.value) for s in samples] == [({"workflow": "depth"}, is_stale)]
