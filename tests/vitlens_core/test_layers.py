"""The science alone: importable where nothing but its own dependencies is installed."""

import subprocess
import sys

import pytest

# transformers and onnx are missing here: torch and open_clip look for them, and go on without.
EVERYTHING_ELSE = (
    "ray mlflow dagster webdataset objaverse upath rich click tenacity jinja2 "
    "moderngl fpsample bpy DracoPy pipelines workflows"
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
# A program, and the modules that open a renderer, each behind its extra.
openers = ("child", "cycles", "opengl", "rasterizer")
apart = {{f"vitlens_core.rendering.{{name}}" for name in openers}}
for name in names:
    if name not in apart:
        importlib.import_module(name)
print(len(names))
"""


@pytest.mark.slow
def test_every_core_module_imports_without_the_extras():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
