"""The image's recipe: its Dockerfile, its way with secrets, and what it takes of the lock."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_another_build_of_torch_keeps_its_version_and_leaves_out_its_hashes() -> None:
    lock = ROOT / "requirements.lock"
    assert constrained(lock, "locked") == lock.read_text()
    entries = re.findall(
        r"^([a-z0-9._-]+)==[^\n]*\n((?:    --hash[^\n]*\n)*)", constrained(lock, "cpu"), flags=re.M
    )
    without = {name for name, hashes in entries if not hashes}
    assert without == {"torch", "torchaudio", "torchvision"}
    assert len(entries) == len(re.findall(r"^[a-z0-9._-]+==", lock.read_text(), flags=re.M))
