"""Serve figures of artifacts, runs, trainings and versions to Prometheus until Ctrl-C."""

from __future__ import annotations

import signal
from contextlib import suppress

import click
from prometheus_client import CollectorRegistry, start_http_server
from rich.console import Console

from workflows.ports import HOST, require_free
from workflows.workplace import Workplace


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
    # Late: Dagster and MLflow take seconds to import, and the arguments are checked without them.
    from workflows.exporter.opening import open_collector

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
