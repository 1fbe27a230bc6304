"""Settings of gates are checked, and their names told, without torch and MLflow."""

import subprocess
import sys

CODE = """
import sys
from pipelines.registry.acceptance import names
from pipelines.registry.gates.base import GATES

for kind in GATES.names():
    GATES.load(kind)
assert names(["mine"]) == ["sanity", "mine", "held_out", "non_inferiority", "benchmarks"]
assert not {"torch", "mlflow"} & set(sys.modules)
"""


def test_gates_are_named_without_torch_and_mlflow() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
