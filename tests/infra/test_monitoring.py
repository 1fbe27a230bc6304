"""Alerts and the dashboard: rules that fire when they should, queries of figures that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from infra.local import prometheus
from infra.local.debian import MissingError, program
from infra.local.stack import PORTS, WORKERS
from pipelines.service.metrics import Metrics
from tests.conftest import ROOT
from workflows.exporter.opening import open_collector
from workflows.workplace import Workplace

CONFIG = ROOT / "infra" / "config"
RULES = CONFIG / "prometheus" / "rules.yaml"
# Of PromQL: functions, operators, and labels.
_NAME = re.compile(r"\b(?:vitlens|ray)_[a-z0-9_]+\b")


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return program("promtool", "prometheus")
    except MissingError as missing:
        pytest.skip(str(missing))


def rules() -> list[dict]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Every query of the rules and of the dashboard."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in json.loads((CONFIG / "grafana" / "vitlens.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


def exported() -> set[str]:
    """Names of what the exporter and the service show, with those that histograms add."""
    registry = CollectorRegistry()
    collector = open_collector(Workplace.from_environment())
    collector.refresh_all()
    registry.register(collector)
    shown = (generate_latest(registry) + Metrics().text()).decode()
    names = set(re.findall(r"^# TYPE (\S+)", shown, flags=re.M))
    for histogram in re.findall(r"^# TYPE (\S+) histogram", shown, flags=re.M):
        names |= {f"{histogram}_{part}" for part in ("bucket", "sum", "count")}
    return names


@pytest.mark.slow
def test_the_rules_are_valid_and_fire_as_their_tests_say(promtool: Path) -> None:
    subprocess.run([promtool, "check", "rules", RULES], check=True, capture_output=True)
    test = [promtool, "test", "rules", RULES.with_name("rules.test.yaml")]
    done = subprocess.run(test, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_seen_to_fire() -> None:
    tests = yaml.safe_load(RULES.with_name("rules.test.yaml").read_text())["tests"]
    fired = {
        test["alertname"]
        for group in tests
        for test in group["alert_rule_test"]
        if test["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules()}


@pytest.mark.slow
def test_a_rule_that_is_changed_fails_its_test(promtool: Path, tmp_path: Path) -> None:
    for path in RULES.parent.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    changed = RULES.read_text().replace("vitlens_source_up == 0", "vitlens_source_up == 2")
    (tmp_path / "rules.yaml").write_text(changed)
    test = [promtool, "test", "rules", tmp_path / "rules.test.yaml"]
    assert subprocess.run(test, capture_output=True, check=False).returncode != 0


@pytest.mark.slow
def test_every_query_asks_for_figures_that_are_exported(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of Ray are looked up in the integration test, where a cluster runs."""
    monkeypatch.setenv("VITLENS_HOME", str(home))
    monkeypatch.delenv("VITLENS_STORE", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by the exporter itself; undone with the test
    known = exported()
    unknown = {
        title: names
        for title, query in queries().items()
        if (names := {n for n in _NAME.findall(query) if n.startswith("vitlens_")} - known)
    }
    assert not unknown


def test_figures_that_others_have_too_are_asked_of_our_targets_alone() -> None:
    """A cluster's Prometheus knows the targets of other teams."""
    named = re.compile(r"\b(up|ray_[a-z0-9_]+)\b(\{[^}]*\})?")
    open_ = {
        f"{title}: {name}"
        for title, query in queries().items()
        for name, selector in named.findall(query)
        if 'stack="vitlens"' not in selector
    }
    assert not open_


def test_every_target_carries_the_label_that_rules_ask_for() -> None:
    ours = {"stack": "vitlens"}
    team = yaml.safe_load((ROOT / "infra" / "compose" / "prometheus.yaml").read_text())
    local = prometheus.settings(Path("stack"), PORTS, ("head", *WORKERS))
    for scraped in (*team["scrape_configs"], *local["scrape_configs"]):
        set_ = {r["target_label"]: r["replacement"] for r in scraped["relabel_configs"]}
        assert ours.items() <= set_.items(), scraped

    path = ROOT / "infra" / "kubernetes" / "base" / "monitoring.yaml"
    for monitor in yaml.safe_load_all(path.read_text()):
        spec = monitor["spec"]
        for end in spec.get("endpoints") or spec["podMetricsEndpoints"]:
            set_ = {r["targetLabel"]: r["replacement"] for r in end["relabelings"]}
            assert ours.items() <= set_.items(), monitor


def test_every_rule_says_what_happened_and_what_to_do() -> None:
    assert all({"summary", "action"} <= rule["annotations"].keys() for rule in rules())
    assert all(rule["labels"]["severity"] in {"info", "warning", "critical"} for rule in rules())
