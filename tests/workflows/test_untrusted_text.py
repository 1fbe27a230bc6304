"""Text and URLs of others on the terminal, in tags, cards, reports and logs."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from pipelines.registry import card, models, promotion
from pipelines.registry.gates.base import GateResult
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Quarantined
from pipelines.store.text import printable, redacted
from tests.pipelines.finished_run import CONFIG, finished_run
from tests.pipelines.registered import NAME, register
from workflows.cli import main
from workflows.console import quiet_terminal
from workflows.text import shown

ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\b\u202eevil\u2066\x00[bold]x[/]"
SECRET = "hunter2-of-ada"
URL = f"https://ada:{SECRET}@mirror.example/objects?token={SECRET}&size=3"


def controls(text: str) -> set[str]:
    return {c for c in text if (ord(c) < 32 and c not in "\n\t") or c in "\x7f\x9b\u202e\u2066"}


def test_what_steers_a_terminal_is_replaced() -> None:
    assert not controls(printable(ESCAPES))
    console = Console(file=io.StringIO(), force_terminal=False)
    console.print(shown(ESCAPES))
    assert "[bold]x" in console.file.getvalue()  # ty: ignore[missing-attribute]
    assert printable("a\nb\tc") == "a�b�c"
    assert printable("a\nb\tc", lines=True) == "a\nb\tc"
    assert printable("naïve 日本語 ✓") == "naïve 日本語 ✓"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (URL, "https://***@mirror.example/objects?token=***&size=3"),
        ("s3://key:se%40cret@bucket/x", "s3://***@bucket/x"),
        ("postgresql+psycopg://u:p@h/db and more", "postgresql+psycopg://***@h/db and more"),
        ("https://h/x?X-Amz-Signature=abc&x-amz-credential=d", None),
        ("https://h/x?sig=a%2Fb&api_key=c", "https://h/x?sig=***&api_key=***"),
        ("mail ada@example.org, models:/x@champion", "mail ada@example.org, models:/x@champion"),
        ("sqlite:////home/ada/mlflow.db", "sqlite:////home/ada/mlflow.db"),
    ],
)
def test_secrets_of_urls_are_replaced(text: str, expected: str | None) -> None:
    found = redacted(text)
    assert SECRET not in found
    assert found == (expected or "https://h/x?X-Amz-Signature=***&x-amz-credential=***")
    assert redacted(found) == found


def test_history_and_status_steer_no_terminal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))
    monkeypatch.setenv("VITLENS_USER", ESCAPES.replace("\0", ""))
    model = register(home)
    promotion.promote(home, NAME, model.version, f"why {ESCAPES} {URL}")
    for command in (["history"], ["status"], ["lineage"]):
        names = ["point_cloud"] if command != ["status"] else []
        result = CliRunner().invoke(main, [*command, *names])
        assert result.exit_code == 0, result.output
        assert not controls(result.output)
        assert SECRET not in result.output


def test_a_secret_of_a_mirror_reaches_no_tag_parameter_manifest_or_report(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**CONFIG, "objects": {"mirror": URL, "count": None}}
    artifacts = finished_run(home)
    model = models.register_challenger(home, "point_cloud", settings, artifacts)
    run = models.connect(home).get_run(model.run_id)
    assert run.data.params["objects.mirror"].startswith("https://***@mirror.example")
    assert SECRET not in json.dumps([run.data.params, run.data.tags])
    reason = f"{URL}: 403 {ESCAPES}"
    shape = {"name": "x", "metric": "y", "threshold": 0, "value": 0, "passed": False}
    for made in (
        GateResult.model_validate({**shape, "reason": reason}),
        Quarantined(key="a", step="objects", reason=reason),
    ):
        assert SECRET not in made.reason
        assert not controls(made.reason)
    store = Store(artifacts["lens"].folder.parent.parent)
    build = store.begin("objects", 1, {"mirror": URL}, {})
    assert SECRET not in build.commit([], {}).path("manifest.json").read_text()
    assert store.begin("objects", 1, {"mirror": URL}, {}).existing is not None


def test_logs_hold_no_secret(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with quiet_terminal(log):
        logging.getLogger("x").warning("fetching %s", URL)
        try:
            raise ValueError(URL)
        except ValueError:
            logging.getLogger("x").exception("failed")
    assert SECRET not in log.read_text()
    assert "https://***@mirror.example" in log.read_text()


def test_an_error_of_a_server_shows_no_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{SECRET}@127.0.0.1:9")
    result = CliRunner().invoke(main, ["history", "point_cloud"])
    assert result.exit_code
    assert SECRET not in result.output


WORDS = (
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/p.png)",
    "a\n\n# Heading",
    "| a | b |",
    "`code` **bold** _i_ ~~s~~",
    ESCAPES,
)


@pytest.mark.parametrize("words", WORDS)
def test_words_in_a_card_stay_words(words: str) -> None:
    found = card.plain(words)
    assert "<" not in found
    assert not controls(found + "".join(c for c in found if c in "\n\t"))
    assert "\n" not in found
    for sign in "[]()!|`*_~#":
        assert found.count(sign) == found.count(f"\\{sign}"), sign
