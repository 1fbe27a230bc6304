"""The science alone: importable where nothing but its own dependencies is installed."""

import subprocess
import sys

EVERYTHING_ELSE = (
    "ray mlflow dagster webdataset objaverse fsspec upath rich click tenacity jinja2 matplotlib "
    "moderngl fpsample bpy DracoPy onnx onnxruntime transformers pipelines workflows"
)

IMPORT_ALL = f"""
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EVERYTHING_ELSE.split()!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed", name=name)

sys.meta_path.insert(0, Absent())
import vitlens_core
names = [m.name for m in pkgutil.walk_packages(vitlens_core.__path__, "vitlens_core.")]
run_as_program = {{"vitlens_core.rendering.child"}}
for name in names:
    if name not in run_as_program:
        importlib.import_module(name)
print(len(names))
"""


def test_every_core_module_imports_without_the_extras():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
