"""Serve figures of artifacts, runs, trainings and versions to Prometheus until Ctrl-C."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from prometheus_client import CollectorRegistry, start_http_server
from rich.console import Console

from workflows.environment import dagster_folder
from workflows.ports import HOST, require_free
from workflows.spec import load_workflow, modality_names
from workflows.workplace import Workplace

if TYPE_CHECKING:
    from workflows.exporter.collector import SourcesCollector

# The next look comes soon: MLflow's client would try again for minutes instead.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@click.command("exporter")
@click.option("--port", default=9808, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default=HOST, show_default=True, help="Interface to listen on.")
@click.option(
    "--every", "every_s", default=15.0, show_default=True, type=click.FloatRange(1), help="Seconds."
)
@click.pass_obj
def command(workplace: Workplace | None, port: int, host: str, every_s: float) -> None:
    """Serve figures of artifacts, runs, trainings and versions to Prometheus until Ctrl-C."""
    require_free("--port", port, host)
    collector = open_collector(workplace or Workplace.from_environment())
    registry = CollectorRegistry()
    registry.register(collector)
    collector.refresh_all()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    server, thread = start_http_server(port, host, registry)
    Console(stderr=True).print(f"metrics    http://{host}:{port}/metrics\nCtrl-C stops it")
    collector.follow(every_s)
    with suppress(KeyboardInterrupt):
        signal.pause()
    server.shutdown()
    thread.join()


def open_collector(workplace: Workplace) -> SourcesCollector:
    """Return the collector of a workplace's store, registry, trainings and Dagster."""
    # Late: Dagster and MLflow take seconds to import, and the arguments are checked without them.
    import dagster as dg

    from workflows.exporter.collector import SourcesCollector
    from workflows.exporter.registry import read_trainings, read_versions
    from workflows.exporter.runs import read_runs
    from workflows.exporter.store import StoreReader

    os.environ.update(_IMPATIENT)
    os.environ["DAGSTER_HOME"] = str(dagster_folder(workplace.home))
    instance = dg.DagsterInstance.get()
    names = modality_names()
    jobs = [*names, *(f"{name}_pieces" for name in names if load_workflow(name).pieces)]
    return SourcesCollector(
        {
            "store": StoreReader(workplace.home.store).read,
            "registry": lambda: read_versions(workplace.registry, names),
            "trainings": lambda: read_trainings(workplace.registry),
            "dagster": lambda: read_runs(instance, jobs),
        }
    )
