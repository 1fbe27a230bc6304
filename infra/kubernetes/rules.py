"""Writes base/rules.yaml, the operator's form of the alert rules; run after they change.

.venv/bin/python -m infra.kubernetes.rules
"""

from __future__ import annotations

from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
RULES = FOLDER.parent / "config" / "prometheus" / "rules.yaml"
WRITTEN = FOLDER / "base" / "rules.yaml"
_HEAD = "# Written by infra/kubernetes/rules.py from infra/config/prometheus/rules.yaml.\n"


def as_resource() -> str:
    """Return the rules as a PrometheusRule."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "vitlens"},
        "spec": yaml.safe_load(RULES.read_text()),
    }
    return _HEAD + yaml.safe_dump(resource, sort_keys=False, width=100)


if __name__ == "__main__":
    WRITTEN.write_text(as_resource())
