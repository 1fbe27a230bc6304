"""The parts of the stack: what each is started with, on loopback, in this order.

postgres ─▶ mlflow ◀─ store          dagster: code ─▶ webserver, daemon
ray: head ◀─ worker-1, worker-2      exporter, prometheus
service: once there is a model to serve, on Ray
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from infra.local import prometheus
from infra.local.debian import program
from infra.local.postgres import Postgres
from infra.local.processes import HOST, Command, Processes, StackError, answers
from pipelines.store.files import private_folder, private_once

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "infra" / "config"
PORTS = {
    "postgres": 5433,
    "store": 9000,
    "mlflow": 5000,
    "ray": 6379,
    "ray_dashboard": 8265,
    "ray_client": 10001,
    "autoscaler_metrics": 44217,
    "dashboard_metrics": 44227,
    "head_metrics": 9101,
    "head_agent": 9201,
    "worker-1_metrics": 9102,
    "worker-1_agent": 9202,
    "worker-2_metrics": 9103,
    "worker-2_agent": 9203,
    "code": 4000,
    "webserver": 3000,
    "exporter": 9808,
    "prometheus": 9090,
    "service": 8000,
}
SECRETS = (
    "dagster",
    "mlflow",
    "mlflow-admin",
    "mlflow-exporter",
    "mlflow-runs",
    "mlflow-service",
    "mlflow-session",
    "mlflow-webhooks",
    "ray",
    "service",
    "store",
)
WORKERS = ("worker-1", "worker-2")
_HEAD = (  # where Ray's head listens
    "ray",
    "ray_dashboard",
    "ray_client",
    "autoscaler_metrics",
    "dashboard_metrics",
    "head_metrics",
    "head_agent",
)
ACCOUNTS = ("runs", "service", "exporter")  # as infra/config/accounts.py makes them
_BUCKETS = ("vitlens", "mlflow")
_STORE_MB = 100  # Ray's object store, per node


def own_folder(folder: Path) -> Path:
    """Return a folder of this user, made if there is none (`StackError`).

    Its name can be guessed: another user may have made it, with secrets of theirs.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StackError(
            f"{folder} is not this user's alone to write in: remove it, or name another with "
            "--folder"
        )
    if not os.getuid():
        folder.chmod(0o711)  # Postgres runs as another user, who must pass
    return folder


def free_ports() -> dict[str, int]:
    """Return a free port for every part."""
    held = [socket.socket() for _ in PORTS]
    for each in held:
        each.bind((HOST, 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return dict(zip(PORTS, ports, strict=True))


@dataclass
class Stack:
    """A stack in a folder.

    Attributes:
        folder: holds everything: databases, secrets, logs; short, for Ray's sockets lie in it.
            It is this user's; others may pass it by name, as Postgres' user must, and find every
            folder in it closed.
        definitions: the module of Dagster's definitions.
        extra: further variables of every part.
    """

    folder: Path
    ports: Mapping[str, int] = field(default_factory=lambda: PORTS)
    definitions: str = "workflows.definitions"
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own_folder(self.folder)
        for name in ("home", "logs", "prometheus", "ray", "secrets", "tmp"):
            private_folder(self.folder / name)
        self.processes = Processes(self.folder)
        self.postgres = Postgres(self.folder / "postgres", self.ports["postgres"])
        _write_secrets(self.folder / "secrets")

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def url(self, part: str) -> str:
        return f"http://{HOST}:{self.ports[part]}"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables of a part that works: a run, a node of Ray, the service."""
        known = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.folder / "tmp"),
            "VITLENS_HOME": str(self.home),
            "VITLENS_STORE": "s3://vitlens/artifacts",
            "AWS_ENDPOINT_URL": self.url("store"),
            "AWS_ACCESS_KEY_ID": "vitlens",
            "AWS_SECRET_ACCESS_KEY": self.secret("store"),
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_TRACKING_URI": self.url("mlflow"),
            **self._account("runs"),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
            "DAGSTER_HOME": str(self.home / "dagster"),
            "DAGSTER_PG_HOST": HOST,
            "DAGSTER_PG_PORT": str(self.ports["postgres"]),
            "DAGSTER_PG_PASSWORD": self.secret("dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "VITLENS_RAY_DASHBOARD": self.url("ray_dashboard"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "secrets" / "ray"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray listens on loopback alone: `ray_node`
            "OMP_NUM_THREADS": "1",
        }
        return {**known, **self.extra, **more}

    def _account(self, name: str) -> dict[str, str]:
        password = self.secret(f"mlflow-{name}")
        return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}

    def up(self) -> None:
        """Start every part that does not run, one after the other (`StackError`)."""
        settings = private_folder(self.home / "dagster") / "dagster.yaml"
        settings.write_text((CONFIG / "dagster.yaml").read_text())
        for name in self.parts():
            self.start(name)

    def serve(self, model: str) -> None:
        """Start the service with a registered model, and let Prometheus know of it."""
        if self.processes.process("service") is None:
            self.processes.start("service", self._service(model))
        prometheus.add_service(self.folder, self.ports["service"])

    def down(self) -> None:
        """Stop what was started, the last first."""
        for name in reversed([*self.processes.known()]):
            self.processes.stop(name)

    def start(self, name: str) -> None:
        """Start a part unless it runs, and make what others need of it unless it is there."""
        if self.processes.process(name) is None:
            self.processes.start(name, self.parts()[name]())
        if name == "postgres":
            self.postgres.create({n: self.secret(n) for n in ("dagster", "mlflow")})
        if name == "store":
            self._make_buckets()
        if name == "mlflow":
            self._make_accounts()

    def parts(self) -> dict[str, partial[Command]]:
        """Return how each part is started, in order."""
        nodes = {name: partial(self._worker, name) for name in WORKERS}
        return {
            "postgres": partial(self.postgres.command),
            "store": partial(self._store),
            "mlflow": partial(self._mlflow),
            "head": partial(self._head),
            **nodes,
            "code": partial(self._code),
            "webserver": partial(self._webserver),
            "daemon": partial(self._daemon),
            "exporter": partial(self._exporter),
            "prometheus": partial(self._prometheus),
        }

    def _command(self, part: str, *arguments: str, **more: str) -> Command:
        module = [sys.executable, "-m", *arguments]
        port = self.ports[part]
        return Command(module, self.environment(**more), partial(answers, port), [port])

    def _store(self) -> Command:
        address = ("-H", HOST, "-p", str(self.ports["store"]))
        return self._command("store", "moto.server", *address)

    def _make_buckets(self) -> None:
        client = store_client(self)
        for bucket in _BUCKETS:
            client.create_bucket(Bucket=bucket)

    def _make_accounts(self) -> None:
        """Make MLflow's accounts of the parts, as a server and a cluster have them."""
        passwords = {
            f"PASSWORD_OF_{name.upper()}": self.secret(f"mlflow-{name}") for name in ACCOUNTS
        }
        variables = self.environment(**self._account("admin"), **passwords)
        made = [sys.executable, CONFIG / "accounts.py"]
        done = subprocess.run(made, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(f"MLflow's accounts cannot be made: {done.stderr.strip()[-500:]}")

    def _mlflow(self) -> Command:
        where = f"mlflow@{HOST}:{self.ports['postgres']}"
        accounts = (CONFIG / "basic_auth.ini").read_text().replace("mlflow@", where, 1)
        (self.folder / "basic_auth.ini").write_text(accounts)
        served = ("--host", HOST, "--port", str(self.ports["mlflow"]), "--workers", "1")
        return self._command(
            "mlflow",
            "mlflow",
            "server",
            "--app-name=basic-auth",
            *served,
            MLFLOW_BACKEND_STORE_URI=f"postgresql+psycopg2://{where}/mlflow",
            MLFLOW_ARTIFACTS_DESTINATION="s3://mlflow",
            MLFLOW_AUTH_CONFIG_PATH=str(self.folder / "basic_auth.ini"),
            MLFLOW_AUTH_ADMIN_PASSWORD=self.secret("mlflow-admin"),
            MLFLOW_FLASK_SERVER_SECRET_KEY=self.secret("mlflow-session"),
            MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=_fernet_key(self.secret("mlflow-webhooks")),
            PGPASSWORD=self.secret("mlflow"),
        )

    def _ray(self, name: str, *arguments: str) -> list[str | Path]:
        return [
            sys.executable,
            "-m",
            "infra.local.ray_node",
            "start",
            "--block",
            "--disable-usage-stats",
            f"--node-ip-address={HOST}",
            "--num-cpus=1",
            f"--object-store-memory={_STORE_MB * 1024**2}",
            f"--metrics-export-port={self.ports[f'{name}_metrics']}",
            # By default the same for every Ray of a machine: the second has no agent, and no jobs.
            f"--dashboard-agent-listen-port={self.ports[f'{name}_agent']}",
            *arguments,
        ]

    def _head(self) -> Command:
        head = self._ray(
            "head",
            "--head",
            f"--port={self.ports['ray']}",
            f"--ray-client-server-port={self.ports['ray_client']}",
            f"--dashboard-host={HOST}",
            f"--dashboard-port={self.ports['ray_dashboard']}",
            f"--temp-dir={self.folder / 'ray' / 'r'}",  # Ray opens this one to everybody
        )
        metrics = {
            "AUTOSCALER_METRIC_PORT": str(self.ports["autoscaler_metrics"]),
            "DASHBOARD_METRIC_PORT": str(self.ports["dashboard_metrics"]),
        }
        ready = partial(answers, self.ports["ray_dashboard"])
        return Command(head, self.environment(**metrics), ready, self._ports(*_HEAD))

    def _worker(self, name: str) -> Command:
        worker = self._ray(name, f"--address={HOST}:{self.ports['ray']}")
        ports = self._ports(f"{name}_metrics", f"{name}_agent")
        return Command(worker, self.environment(), partial(answers, ports[0]), ports)

    def _ports(self, *names: str) -> list[int]:
        return [self.ports[name] for name in names]

    def _code(self) -> Command:
        address = ("-h", HOST, "-p", str(self.ports["code"]))
        return self._command("code", "dagster", "api", "grpc", "-m", self.definitions, *address)

    def _workspace(self) -> str:
        code = {"location_name": "vitlens", "host": HOST, "port": self.ports["code"]}
        path = self.folder / "workspace.yaml"
        path.write_text(json.dumps({"load_from": [{"grpc_server": code}]}))
        return str(path)

    def _webserver(self) -> Command:
        address = ("-h", HOST, "-p", str(self.ports["webserver"]))
        return self._command("webserver", "dagster_webserver", "-w", self._workspace(), *address)

    def _daemon(self) -> Command:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-w", self._workspace()]
        return Command(command, self.environment(), lambda: True)

    def _exporter(self) -> Command:
        port = ("--port", str(self.ports["exporter"]), "--every", "5")
        command = [Path(sys.executable).with_name("python"), "-c", _VITLENS, "exporter", *port]
        ports = self._ports("exporter")
        variables = self.environment(**self._account("exporter"))
        return Command(command, variables, partial(answers, *ports), ports)

    def _service(self, model: str) -> Command:
        port = ("--port", str(self.ports["service"]))
        command = [sys.executable, "-c", _VITLENS, "serve", model, *port]
        variables = self.environment(
            RAY_ADDRESS=f"{HOST}:{self.ports['ray']}",
            VITLENS_TOKEN_FILE=str(self.folder / "secrets" / "service"),
            **self._account("service"),
        )
        ready = partial(serves, self.url("service"))
        return Command(command, variables, ready, self._ports("service"))

    def _prometheus(self) -> Command:
        settings = prometheus.settings(self.folder, self.ports, ("head", *WORKERS))
        path = self.folder / "prometheus.yaml"
        path.write_text(json.dumps(settings))
        command = [
            program("prometheus", "prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address={HOST}:{self.ports['prometheus']}",
        ]
        ports = self._ports("prometheus")
        variables = {"PATH": os.environ["PATH"]}
        return Command(command, variables, partial(answers, *ports), ports, stop=signal.SIGINT)


_VITLENS = "from workflows.cli import main; main()"


def store_client(stack: Stack) -> Any:
    """Return boto3's client of the stack's object store."""
    import boto3  # late: it takes a second

    return boto3.client(
        "s3",
        endpoint_url=stack.url("store"),
        aws_access_key_id="vitlens",
        aws_secret_access_key=stack.secret("store"),
        region_name="us-east-1",
    )


def serves(url: str) -> bool:
    """Whether a service answers with its model: Ray's proxy listens before there is one."""
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=2) as answer:  # noqa: S310  loopback
            return answer.status == HTTPStatus.OK
    except OSError:
        return False


def _fernet_key(secret: str) -> str:
    """Return the form in which MLflow takes the key that its webhooks' secrets lie under."""
    return base64.urlsafe_b64encode(secret.encode()[:32]).decode()


def _write_secrets(folder: Path) -> None:
    for name in SECRETS:
        private_once(folder / name, lambda: secrets.token_hex(24))


__all__ = ["PORTS", "Stack", "StackError", "free_ports", "store_client"]
