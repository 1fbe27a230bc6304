"""Settings of gates are checked, and versions listed, without torch; gates also without MLflow."""

import subprocess
import sys

import pytest

CODE = """
import sys
from pipelines.registry.acceptance import names
from pipelines.registry.gates.base import GATES

for kind in GATES.names():
    GATES.load(kind)
assert names(["mine"]) == ["sanity", "mine", "held_out", "non_inferiority", "benchmarks"]
assert not {"torch", "mlflow"} & set(sys.modules)
"""


@pytest.mark.parametrize(
    "module", ["registry.registry", "registry.package", "foundation.teachers", "flow"]
)
def test_what_needs_torch_only_when_it_works_is_imported_without(module: str) -> None:
    code = f"import sys, pipelines.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gates_are_named_without_torch_and_mlflow() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
