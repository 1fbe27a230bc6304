"""`make audit`: the locks, the bill of materials, and what is not known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import audit

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", audit.LOCKS)
def test_every_locked_package_has_hashes(name: str) -> None:
    packages = list(audit.read_lock(ROOT / name))
    assert packages
    assert audit.without_hash(packages) == []


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "numpy==2.*,!=2.1", "-e .", "git+https://x"])
def test_what_is_not_pinned_is_refused(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"{line} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ValueError, match=r"is not pinned|is no requirement"):
        list(audit.read_lock(lock))


def test_a_package_without_a_whole_hash_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"a==1 \\\n    --hash=sha256:{'0' * 64}\nb==1\nc==1 --hash=sha256:12\n")
    assert audit.without_hash(list(audit.read_lock(lock))) == ["b", "c"]


def test_the_bill_of_materials_names_every_package_and_file() -> None:
    packages = list(audit.read_lock(ROOT / "requirements.lock"))
    components = json.loads(audit.sbom(packages))["components"]
    assert {(c["name"], c["version"]) for c in components} == {
        (p.name, p.version) for p in packages
    }
    torch = next(c for c in components if c["name"] == "torch")
    assert torch["purl"].startswith("pkg:pypi/torch@")
    assert len(torch["hashes"]) > 1


def test_uv_is_installed_with_its_hashes() -> None:
    setup = (ROOT / "infra" / "setup.sh").read_text()
    assert "--require-hashes -r .venv/uv.lock" in setup
    uv = next(p for p in audit.read_lock(ROOT / "requirements.lock") if p.name == "uv")
    assert uv.hashes
