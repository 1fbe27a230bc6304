"""audit: what the locked environment consists of, and whether anything is known against it.

    python -m infra.audit [FOLDER]

Reads     requirements.lock, weights.lock; a data base of vulnerabilities, if one can be reached.
Writes    `sbom.cdx.json` in FOLDER (build/ by default): every locked package with its hashes, as
          CycloneDX.
Promises  the exit code is 1 if a package lacks a hash or a vulnerability is known. Packages that
          no data base could be asked about are counted and named: they are not found to be safe.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "weights.lock")
_TIMEOUT_S = 600
_SHOWN = 5
_Component: Any = Component  # the library makes their constructors at run time
_Hash: Any = HashType
# Its flaws are known: whoever does not name one of them is no data base of vulnerabilities.
_CONTROL = "jinja2==2.4.1\n"


@dataclass(frozen=True)
class Locked:
    """One package of a lock, and the SHA-256 of each of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]


def read_lock(path: Path) -> Iterator[Locked]:
    """Yield the packages of a lock (`ValueError`: one is not pinned to a version)."""
    for entry in path.read_text().replace("\\\n", " ").splitlines():
        line = entry.partition("#")[0].strip()
        if not line:
            continue
        described, *hashes = (part.strip() for part in line.split("--hash=sha256:"))
        try:
            requirement = Requirement(described)
        except InvalidRequirement as error:
            raise ValueError(f"{path.name}: {described!r} is no requirement") from error
        pins = [s.version for s in requirement.specifier if s.operator == "=="]
        if len(pins) != 1 or len(requirement.specifier) != 1:
            raise ValueError(f"{path.name}: {described!r} is not pinned to one version")
        yield Locked(requirement.name, pins[0], tuple(hashes))


def without_hash(packages: list[Locked]) -> list[str]:
    """Return the names of packages that lack a whole SHA-256."""
    return [p.name for p in packages if not p.hashes or any(len(h) != 64 for h in p.hashes)]


def sbom(packages: list[Locked]) -> str:
    """Return the bill of materials as CycloneDX JSON."""
    bom: Any = Bom()
    for package in packages:
        purl = PackageURL("pypi", name=package.name, version=package.version)
        bom.components.add(
            _Component(
                name=package.name,
                version=package.version,
                type=ComponentType.LIBRARY,
                purl=purl,
                bom_ref=purl.to_string(),
                licenses=[LicenseFactory().make_from_string(name) for name in _licence(package)],
                hashes=[_Hash(alg=HashAlgorithm.SHA_256, content=h) for h in package.hashes],
            )
        )
    return JsonV1Dot6(bom).output_as_string(indent=1)


def _licence(package: Locked) -> Iterator[str]:
    """Yield the licence that an installed package states, if it states a short one."""
    try:
        stated = metadata.metadata(package.name)
    except metadata.PackageNotFoundError:  # locked for another system
        return
    fields = ("License-Expression", "License")
    name = next((stated[field] for field in fields if field in stated), "")
    if 0 < len(name) < 80 and "\n" not in name:
        yield name


def known_against(lock: Path) -> tuple[list[str], list[str]]:
    """Return the known vulnerabilities of a lock, and the packages nothing could be learnt of."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "-f", "json"]
    try:
        done = subprocess.run(
            [*command, "-r", str(lock)], capture_output=True, text=True, timeout=_TIMEOUT_S
        )
        found = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return [], [package.name for package in read_lock(lock)]
    known = [
        f"{each['name']} {each['version']}: {flaw['id']}, fixed in {flaw['fix_versions']}"
        for each in found
        for flaw in each.get("vulns", ())
    ]
    return known, [each["name"] for each in found if "skip_reason" in each]


def has_database() -> bool:
    """Whether a data base of vulnerabilities answers."""
    with tempfile.TemporaryDirectory(prefix="vitlens-audit-") as folder:
        control = Path(folder, "control.txt")
        control.write_text(_CONTROL)
        return bool(known_against(control)[0])


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build"
    by_lock = {name: list(read_lock(ROOT / name)) for name in LOCKS}
    packages = [package for each in by_lock.values() for package in each]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(sbom(packages))
    print(f"bill of materials: {len(packages)} packages in {folder / 'sbom.cdx.json'}")
    missing = without_hash(packages)
    print(f"hashes: {f'missing for {missing}' if missing else 'complete'}")
    return 1 if missing or tell_known(len(packages)) else 0


def tell_known(total: int) -> int:
    """Print what is known against the locked packages, and return how many flaws."""
    if not has_database():
        print("vulnerabilities: not checked, no data base of vulnerabilities answers from here")
        return 0
    flaws: list[str] = []
    unknown: list[str] = []
    for name in LOCKS:
        known, silent = known_against(ROOT / name)
        flaws += known
        unknown += silent
    print("\n  ".join([f"vulnerabilities: {len(flaws)} known of {total - len(unknown)}", *flaws]))
    if unknown:
        shown = ", ".join(unknown[:_SHOWN])
        print(f"  nothing could be learnt of {len(unknown)} packages: {shown}, …")
    return len(flaws)


if __name__ == "__main__":
    sys.exit(main())
