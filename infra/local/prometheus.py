"""What the stack's Prometheus reads: its nodes of Ray, the exporter, and the service once there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local.processes import HOST

RULES = Path(__file__).parents[1] / "config" / "prometheus" / "rules.yaml"
SERVICES = "services.json"


def settings(folder: Path, ports: Mapping[str, int], nodes: Sequence[str]) -> dict[str, Any]:
    """Return Prometheus' settings.

    Args:
        folder: the stack's.
        ports: of loopback, by the part.
        nodes: names of Ray's nodes.
    """
    jobs = {"ray": [f"{name}_metrics" for name in nodes], "exporter": ["exporter"]}
    static = [
        {
            "job_name": job,
            "static_configs": [{"targets": [f"{HOST}:{ports[part]}" for part in parts]}],
        }
        for job, parts in jobs.items()
    ]
    service = {
        "job_name": "service",
        "authorization": {"credentials_file": str(folder / "secrets" / "service")},
        # A list that `add_service` writes: a service that was never started is not missing.
        "file_sd_configs": [{"files": [str(folder / SERVICES)]}],
    }
    # By it the rules know our targets from others.
    marked = {"relabel_configs": [{"target_label": "stack", "replacement": "vitlens"}]}
    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{**scraped, **marked} for scraped in (*static, service)],
    }


def add_service(folder: Path, port: int) -> None:
    """Let Prometheus know of the service."""
    (folder / SERVICES).write_text(json.dumps([{"targets": [f"{HOST}:{port}"]}]))
