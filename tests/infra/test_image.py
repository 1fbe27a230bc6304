"""The image's recipe: its Dockerfile, its way with secrets, and what it takes of the lock."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.store.home import Home
from tests.conftest import ROOT

IMAGE = ROOT / "infra" / "image"
LINTER = Path(sys.executable).with_name("hadolint")


def lint(dockerfile: Path) -> list[str]:
    done = subprocess.run([LINTER, "--no-color", dockerfile], capture_output=True, text=True)
    return done.stdout.splitlines()


def entered(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [IMAGE / "entrypoint", *command],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
    )


def constrained(lock: Path, backend: str) -> str:
    """What steps.sh makes of a lock for a build of torch."""
    script = (IMAGE / "steps.sh").read_text().removesuffix('"$@"\n')
    call = f'{script}\nconstraints "{lock}" "{backend}"'
    return subprocess.run(["bash", "-c", call], capture_output=True, text=True, check=True).stdout


def test_the_dockerfile_passes_its_linter() -> None:
    assert lint(IMAGE / "Dockerfile") == []


def test_the_linter_finds_a_base_without_a_tag(tmp_path: Path) -> None:
    text = (IMAGE / "Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(text.replace("FROM ${BASE} AS system", "FROM debian"))
    assert any("DL3006" in line for line in lint(tmp_path / "Dockerfile"))


def test_the_image_runs_as_a_user_and_only_the_last_stage_is_kept() -> None:
    stages = re.split(r"^FROM ", (IMAGE / "Dockerfile").read_text(), flags=re.M)[1:]
    assert [line for line in stages[-1].splitlines() if line.startswith("USER")] == [
        "USER 10001:10001"
    ]
    assert "COPY --from=build /opt/vitlens /opt/vitlens" in stages[-1]
    assert "COPY . " not in stages[-1]
    assert "steps.sh check" in stages[-1]


def test_secrets_are_read_from_files_and_never_given_as_arguments(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('a\'b $c "d"\n')
    show = ("sh", "-c", 'printf "%s|%s" "$PGPASSWORD" "${PGPASSWORD_FROM-gone}"')
    assert entered({"PGPASSWORD_FROM": str(secret)}, *show).stdout == 'a\'b $c "d"|gone'


@pytest.mark.parametrize("content", [None, ""])
def test_a_secret_that_is_not_there_stops_the_container(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_text(content)
    done = entered({"PGPASSWORD_FROM": str(tmp_path / "secret")}, "true")
    assert done.returncode == 2
    assert "PGPASSWORD_FROM" in done.stderr


def settled(tmp_path: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint with a folder of the test as that of Dagster's settings."""
    mounted = tmp_path / "mounted"
    text = (IMAGE / "entrypoint").read_text()
    assert "settings=/etc/vitlens/dagster\n" in text
    script = tmp_path / "entrypoint"
    script.write_text(text.replace("/etc/vitlens/dagster", str(mounted)))
    return subprocess.run(
        ["sh", script, *command],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_dagsters_settings_are_copied_to_where_it_looks_for_them(tmp_path: Path) -> None:
    # As a config map of a cluster lies there: by links, beside a hidden folder.
    mounted, home = tmp_path / "mounted", Home(tmp_path / "home")
    (mounted / "..data").mkdir(parents=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        (mounted / "..data" / name).write_text(f"# {name}\n")
        (mounted / name).symlink_to(f"..data/{name}")
    folder = tmp_path / "home" / "dagster"
    assert settled(tmp_path, "echo", "started", DAGSTER_HOME=str(folder)).stdout == "started\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.read_text() for path in home.dagster().iterdir()} == {
        "dagster.yaml": "# dagster.yaml\n",
        "workspace.yaml": "# workspace.yaml\n",
    }
    before = {path: path.stat().st_ino for path in folder.iterdir()}
    (mounted / "..data" / "dagster.yaml").write_text("# of another release\n")
    settled(tmp_path, "true", DAGSTER_HOME=str(folder))
    assert (folder / "dagster.yaml").read_text() == "# of another release\n"
    changed = {path.name for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {"dagster.yaml"}  # what fits is left alone: others read it meanwhile


@pytest.mark.parametrize("environment", [{}, {"DAGSTER_HOME": ""}])
def test_a_part_without_dagster_copies_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "dagster.yaml").write_text("")
    assert settled(tmp_path, "echo", "started", **environment).stdout == "started\n"


def test_no_settings_are_no_fault(tmp_path: Path) -> None:
    settled(tmp_path, "true", DAGSTER_HOME=str(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_temporary_files_of_a_former_start_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "ray" / "session_former" / ".hidden").mkdir(parents=True)
    (tmp_path / ".file").touch()
    command = [IMAGE / "fresh", "sh", "-c", 'ls -A "$TMPDIR"; echo started']
    path = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env={**path, "TMPDIR": str(tmp_path)}, capture_output=True)
    assert done.stdout == b"started\n"
    assert tmp_path.exists()
    assert subprocess.run(command, env=path, capture_output=True).returncode != 0


def test_another_build_of_torch_keeps_its_version_and_leaves_out_its_hashes() -> None:
    lock = ROOT / "requirements.lock"
    assert constrained(lock, "locked") == lock.read_text()
    entries = re.findall(
        r"^([a-z0-9._-]+)==[^\n]*\n((?:    --hash[^\n]*\n)*)", constrained(lock, "cpu"), flags=re.M
    )
    without = {name for name, hashes in entries if not hashes}
    assert without == {"torch", "torchaudio", "torchvision"}
    assert len(entries) == len(re.findall(r"^[a-z0-9._-]+==", lock.read_text(), flags=re.M))
