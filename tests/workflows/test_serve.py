"""`vitlens serve`: mistakes are told before Ray starts, and a signal ends everything."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from click.testing import CliRunner

from pipelines.registry import models, promotion
from pipelines.store.artifacts import Artifact
from pipelines.store.home import Home
from tests import tiny_hf, tiny_language
from tests.pipelines.finished_run import CONFIG, finished_run
from tests.pipelines.registry.test_models import real_lens
from tests.tiny_models import write_lens
from workflows.cli import main
from workflows.commands.serve import Arguments, settings
from workflows.exit_codes import FAILED, MISTAKE

SOURCE = "models:/vitlens-point_cloud@champion"


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, database: Path
) -> tuple[Path, dict[str, Artifact]]:
    """A home with a champion whose weights are none: settings are checked without them."""
    home = tmp_path_factory.mktemp("serve")
    shutil.copy(database, home)
    artifacts = finished_run(home)
    model = models.register_challenger(home, "point_cloud", CONFIG, artifacts)
    promotion.promote(home, model.name, model.version, force=True)
    return home, artifacts


@pytest.fixture
def home(made: tuple[Path, dict[str, Artifact]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing may start Ray."""
    for name in ("MLFLOW_TRACKING_URI", "VITLENS_STORE", "VITLENS_TOKEN", "VITLENS_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VITLENS_HOME", str(made[0]))
    monkeypatch.setattr("ray.init", _never)
    return made[0]


def _never(**_: object) -> None:
    raise AssertionError("Ray was started")


def serve(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["serve", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("models:/vitlens-point_cloud@nobody",), "is not in the registry"),
        (("models:/vitlens-smell@champion",), "there is no vitlens-smell"),
        (("/nowhere/lens.safetensors",), "no such file or folder"),
        ((SOURCE, "--index", "/nowhere"), "no index at /nowhere"),
        ((SOURCE, "--ask", "/nowhere"), "is neither a folder nor a model that the hub gave"),
        ((SOURCE, "--detect", "."), "has no config.json"),
        ((SOURCE, "--imagine", "."), "it is no pipeline of diffusers"),
        ((SOURCE, "--adapter", "x.safetensors"), "--adapter belongs to a decoder"),
        ((SOURCE, "--connector", "x.safetensors"), "name it, --ask MODEL"),
    ],
)
def test_a_mistake_is_told_before_ray_starts(
    home: Path, arguments: tuple[str, ...], reason: str
) -> None:
    code, output = serve(*arguments)
    assert code == MISTAKE
    assert reason in output


def test_models_that_do_not_fit_are_told_before_ray_starts(home: Path, tmp_path: Path) -> None:
    mine = tiny_hf.write("llava", tmp_path / "mine")
    other = tiny_hf.write("llava", tmp_path / "other", seed=1)
    lens = write_lens(tmp_path / "lens", f"hf:{mine}")
    code, output = serve(str(lens), "--index", "none", "--ask", str(other))
    assert (code, "another vision tower than that of" in output) == (FAILED, True)
    given = Arguments(sources=(str(lens),), port=8000, index="none", ask=f"hf:{mine}")
    config, _ = settings(Home(home), given)
    assert config.companions.ask == str(mine)


def test_a_connector_that_does_not_fit_is_told_before_ray_starts(
    home: Path, tmp_path: Path
) -> None:
    spec = f"hf:{tiny_hf.write('clip', tmp_path / 'clip')}"
    lens = write_lens(tmp_path / "lens", spec)
    language = tiny_language.write("llama", tmp_path / "language")
    other = tiny_language.write("llama", tmp_path / "other", seed=1)
    mine = tiny_language.write_connector(tmp_path / "mine.safetensors", language, spec)
    strange = f"hf:{tiny_hf.write('clip', tmp_path / 'strange', seed=1)}"
    of_other = tiny_language.write_connector(tmp_path / "strange.safetensors", language, strange)
    for ask, connector, reason in (
        (other, mine, "was trained for the language model"),
        (language, of_other, "takes embeddings of the foundation"),
    ):
        given = (str(lens), "--index", "none", "--ask", str(ask), "--connector", str(connector))
        code, output = serve(*given)
        assert (code, reason in " ".join(output.split())) == (FAILED, True), output
    given = Arguments(
        sources=(str(lens),), port=8000, index="none", ask=f"hf:{language}", connector=str(mine)
    )
    config, _ = settings(Home(home), given)
    named = config.companions
    assert (named.ask, named.connector) == (str(language), str(mine))


def test_an_artifact_of_another_step_is_no_index(
    home: Path, made: tuple[Path, dict[str, Artifact]]
) -> None:
    code, output = serve(SOURCE, "--index", str(made[1]["lens"].folder))
    assert code == MISTAKE
    assert "is no index but an artifact of lens" in output


def test_a_busy_port_is_told_before_ray_starts(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = serve(SOURCE, "--port", str(port))
    assert code == MISTAKE
    assert f"port {port} of 127.0.0.1 is taken" in output
    assert "--port" in output


def test_a_short_token_is_told_before_ray_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_TOKEN", "short")
    code, output = serve(SOURCE)
    assert code == MISTAKE
    assert "16 or more ASCII characters" in output


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_without_a_token_it_is_not_served_beyond_this_machine(home: Path, host: str) -> None:
    code, output = serve(SOURCE, "--host", host, "--no-token")
    assert code == MISTAKE
    assert "whoever reaches it could use the service" in output


def test_a_token_and_no_token_contradict(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITLENS_TOKEN", "a-token-of-24-characters")
    code, output = serve(SOURCE, "--no-token")
    assert (code, "unset one" in output) == (MISTAKE, True)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_signal_ends_the_service_and_its_processes(tmp_path: Path) -> None:
    """Of a lens file, without a registry: the service works without search, and says so."""
    folder = tmp_path / "lens"
    folder.mkdir()
    for name, data in real_lens()[2].items():
        (folder / name).write_bytes(data)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = "from workflows.cli import main; main()"
    command = [sys.executable, "-c", start, "serve", str(folder), "--port", str(port)]
    token = tmp_path / "home" / "keys" / "service.token"
    environment = {**os.environ, "VITLENS_HOME": str(tmp_path / "home")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        ready = _answer(f"http://127.0.0.1:{port}/ready", process)
        assert "is a file; name its index with --index FOLDER" in ready["search"]
        asked = {"inputs": [{"modality": "text", "text": "a chair"}]}
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(f"{url}/embed", json=asked, timeout=60).status_code == 401
        assert token.stat().st_mode & 0o777 == 0o600
        known = {"authorization": f"Bearer {token.read_text()}"}
        answered = httpx.post(f"{url}/embed", json=asked, timeout=60, headers=known)
        assert answered.status_code == 200
        missing = httpx.post(f"{url}/search", json=asked, timeout=60, headers=known)
        assert (missing.status_code, "no search" in missing.json()["error"]) == (404, True)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        told = (tmp_path / "log").read_text()
        assert told.splitlines()[-1] == "stopped"
        assert "retries" not in told, "Serve's controller is killed on purpose"
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
    finally:
        process.kill()
        process.wait()
    told = (tmp_path / "log").read_text()
    assert "search     off" in told
    assert told.rstrip().endswith("stopped")


def _answer(url: str, process: subprocess.Popen) -> dict:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended by itself"
        try:
            return httpx.get(url, timeout=5).raise_for_status().json()
        except httpx.HTTPError:
            time.sleep(1)
    raise AssertionError(f"{url} never answered")
