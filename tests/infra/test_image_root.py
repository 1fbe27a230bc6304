"""The steps of the image in a clean Debian root: what the Dockerfile would build.

Needs root, mount and process namespaces and Debian's packages; is skipped where they are missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.local.debian import MissingError, program
from tests.conftest import ROOT

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]
SOURCES = ("pipelines", "vitlens_core", "workflows", "infra/image", "README.md", "LICENSE")
LOCKS = ("pyproject.toml", "requirements.lock", "weights.lock")
RENDERS = """
from importlib import resources
from vitlens_core.rendering import RenderSettings, RenderWorker
objects = resources.files("pipelines") / "data" / "mini-objaverse" / "hf-objaverse-v1" / "glbs"
glb = sorted((objects / "000-000").iterdir(), key=str)[0]
settings = RenderSettings(size_px=112, polar_deg=(75.0,), azimuths=3, points=2048)
with RenderWorker(settings) as worker:
    found = worker.render(glb.read_bytes(), seed=0)
print("rendered", (found.rgba[..., 3] > 0).sum() > 1000)
"""
OPENS_HOME = """
from pipelines.store.home import Home
print(*Home.from_environment().dagster().iterdir())
"""
# As much of the machine as a build container would have too.
ENTER = 'mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
AS_USER = ("setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups")


def inside(root: Path, *command: str, variables: Sequence[str] = ()) -> str:
    """Run a command in a root, with mounts and processes of its own."""
    spaces = ["unshare", "-mpf", f"--mount-proc={root}/proc", "sh", "-c", ENTER, str(root)]
    path = "PATH=/opt/vitlens/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    clean = ["env", "-i", path, "HOME=/var/lib/vitlens", "VITLENS_HOME=/var/lib/vitlens"]
    done = subprocess.run(
        [*spaces, *clean, *variables, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with Debian's essential packages, as a base image has them."""
    if os.getuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    try:
        bootstrap = program("mmdebstrap", "mmdebstrap")
    except MissingError as missing:
        pytest.skip(str(missing))
    root = tmp_path_factory.mktemp("image") / "root"
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    listed = [str(sources)] if sources.exists() else []
    made = [bootstrap, "-q", "--variant=minbase", "--include=ca-certificates", "bookworm", root]
    subprocess.run([*made, *listed], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    for settings in Path("/etc/apt/apt.conf.d").glob("99*"):
        shutil.copy(settings, root / "etc/apt/apt.conf.d")
    return root


@pytest.fixture(scope="module")
def image(debian: Path) -> Path:
    """The last stage: the system, and the environment that another stage built."""
    build = debian.with_name("build")
    (debian / "opt/image").mkdir(parents=True)
    for name in ("steps.sh", "entrypoint", "fresh"):
        shutil.copy(ROOT / "infra/image" / name, debian / "opt/image")
    inside(debian, "/opt/image/steps.sh", "system")
    subprocess.run(["cp", "-a", debian, build], check=True)
    for name in (*SOURCES, *LOCKS):
        (build / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, build / "src" / name)
    # A machine behind a proxy knows further authorities; they stay in this stage.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", build / "etc/ssl/certs")
    certificates = "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"
    inside(build, "/opt/image/steps.sh", "environment", "/src", variables=[certificates])
    shutil.move(build / "opt/vitlens", debian / "opt/vitlens")
    shutil.rmtree(build)
    return debian


def test_the_image_works_as_its_user(image: Path) -> None:
    inside(image, "/opt/image/steps.sh", "check")
    user = (*AS_USER, "/opt/image/entrypoint")
    assert inside(image, *user, "id", "-u").strip() == "10001"
    assert "run " in inside(image, *user, "vitlens", "--help")
    assert "rendered True" in inside(image, *user, "python", "-c", RENDERS)
    validate = "cd /var/lib/vitlens && dagster definitions validate -m workflows.definitions 2>&1"
    assert "Validation successful" in inside(image, *user, "sh", "-c", validate)
    settings = image / "etc/vitlens/dagster"
    settings.mkdir(parents=True)
    shutil.copy(ROOT / "infra/config/dagster.yaml", settings)
    home = "DAGSTER_HOME=/var/lib/vitlens/dagster"
    assert "dagster.yaml" in inside(image, *user, "python", "-c", OPENS_HOME, variables=[home])
    left = "touch /scratch/x /backup/x; TMPDIR=/scratch /opt/image/fresh ls -A /scratch /backup"
    assert inside(image, *user, "sh", "-c", left).split() == ["/backup:", "x", "/scratch:"]
    probe = "touch /opt/vitlens/x 2>/dev/null || echo refused"
    assert "refused" in inside(image, *user, "sh", "-c", probe)
    assert "postgres" in inside(image, *user, "sh", "-c", "pg_dump --version").lower()


def test_a_compiler_or_an_unlocked_package_is_refused(image: Path) -> None:
    compiler = image / "usr/bin/gcc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    check = "/opt/image/steps.sh check 2>&1 || true"
    assert "gcc is in the image" in inside(image, "sh", "-c", check)
    compiler.unlink()
    listed = image / "opt/vitlens/packages.txt"
    listed.write_text(f"{listed.read_text()}left-pad==1.3.0\n")
    assert "left-pad==1.3.0" in inside(image, "sh", "-c", check)
