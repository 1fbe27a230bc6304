"""machine: OpenGL, GPU, the sandbox of files, space, installed versions."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import pipelines
from pipelines.store.home import Home
from vitlens_core.rendering.sandbox import RenderWorker
from vitlens_core.rendering.settings import RenderSettings
from vitlens_core.sandbox import protections
from workflows.doctor.finding import Finding

_GB = 1e9
_LEAST_GB = 2.0  # of a small run: the demo takes .6 GB, an environment's caches the rest
_ENOUGH_GB = 20.0
_SHARED_MB = 512  # `resources.object_store_mb`
_PYTHON = ((3, 11), (3, 13))
_EXTRA = "workflows"
_OBJECTS = Path(pipelines.__path__[0], "data", "mini-objaverse")


def check_versions(
    home: Home, installed: Callable[[str], str] = metadata.version, package: str = "vitlens"
) -> Finding:
    """Compare the installed packages with what vitlens asks for."""
    name = "versions"
    if not _PYTHON[0] <= sys.version_info[:2] <= _PYTHON[1]:
        found = f"Python {sys.version.split()[0]}; tested are 3.11, 3.12 and 3.13"
        return Finding(name, "warning", found, "make the environment with one of these")
    wrong, number = [], 0
    for wanted in _wanted(package, _EXTRA):
        number += 1
        try:
            version = installed(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} is {version}, and {wanted.specifier} is needed")
    if wrong:
        return Finding(name, "failed", "; ".join(wrong), f"pip install 'vitlens[{_EXTRA}]'")
    release = metadata.version(package)
    return Finding(name, "ok", f"vitlens {release} and {number} packages that it needs")


def _wanted(package: str, extra: str) -> Iterable[Requirement]:
    """Yield a package's requirements with an extra, and those of the extras that it names."""
    for line in metadata.requires(package) or ():
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        if wanted.marker is None and extra != _EXTRA:
            continue  # of the package itself: listed once
        if wanted.name == package:
            for inner in sorted(wanted.extras):
                yield from _wanted(package, inner)
        else:
            yield wanted


def check_gl(home: Home) -> Finding:
    """Render a shipped object as a run does, in a child without rights."""
    glb = min(_OBJECTS.rglob("*.glb"), key=lambda path: path.stat().st_size).read_bytes()
    settings = RenderSettings(size_px=64, points=1024, time_limit_s=60)
    with RenderWorker(settings) as worker:
        worker.render(glb, seed=0)  # opens GL
        began = time.perf_counter()
        rendered = worker.render(glb, seed=0)
    if not rendered.depth_m.any():
        found = "OpenGL 3.3 opens, but the object is not in its picture"
        return Finding("gl", "failed", found, "update the graphics driver, or use Mesa's")
    took_ms = 1000 * (time.perf_counter() - began)
    views = len(rendered.cameras)
    return Finding("gl", "ok", f"rendered {views} views of a shipped object in {took_ms:.0f} ms")


def check_gpu(home: Home) -> Finding:
    """Compute on every GPU that torch sees, and name cards that torch cannot use."""
    import torch  # late: it takes seconds

    cards = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if not torch.cuda.is_available():
        if not cards:
            return Finding("gpu", "ok", "none; encoding and training use the processor")
        found = f"{len(cards)} cards, and torch {torch.__version__} cannot use them"
        mend = "install torch's CUDA build and a driver that fits it (nvidia-smi shows its version)"
        return Finding("gpu", "failed", found, mend)
    names = []
    for index in range(torch.cuda.device_count()):
        ones = torch.ones(256, 256, device=f"cuda:{index}")
        assert float((ones @ ones)[0, 0]) == 256
        memory_gb = torch.cuda.get_device_properties(index).total_memory / _GB
        names.append(f"{torch.cuda.get_device_name(index)} ({memory_gb:.0f} GB)")
    return Finding("gpu", "ok", ", ".join(names))


def check_sandbox(home: Home) -> Finding:
    """Say which protections of the kernel a child has that reads untrusted files."""
    known = protections()
    missing = [text for text in known.values() if text.startswith("missing")]
    if missing:
        mend = "run on Linux 5.13 or later, outside of containers that forbid Landlock or seccomp"
        return Finding("sandbox", "warning", "; ".join(missing), mend)
    return Finding("sandbox", "ok", f"{known['files']}, {known['calls']}")


def check_space(home: Home, least_gb: float = _LEAST_GB, enough_gb: float = _ENOUGH_GB) -> Finding:
    """Look at the free space of the home, of a local store, of scratch files and of Ray."""
    places = {"VITLENS_HOME": home.root, "TMPDIR": Path(tempfile.gettempdir())}
    if home.store.root.protocol in ("", "file"):
        places["VITLENS_STORE"] = Path(home.store.root.path)
    free = {name: shutil.disk_usage(_existing(path)).free / _GB for name, path in places.items()}
    shown = ", ".join(f"{name} {gb:.1f} GB free" for name, gb in free.items())
    mend = "`vitlens gc --delete` frees the store; or name a larger disk"
    if min(free.values()) < least_gb:
        return Finding("space", "failed", f"{shown}; a small run takes {least_gb:g} GB", mend)
    if min(free.values()) < enough_gb:
        return Finding("space", "warning", f"{shown}; large data sets take more", mend)
    shared = Path("/dev/shm")  # noqa: S108  where Ray keeps its objects
    if shared.is_dir() and shutil.disk_usage(shared).free < _SHARED_MB * 1e6:
        mend = "give the container more (docker run --shm-size 2g), or lower object_store_mb"
        return Finding("space", "warning", f"{shared} has less than {_SHARED_MB} MB", mend)
    return Finding("space", "ok", shown)


def _existing(path: Path) -> Path:
    """Return the nearest folder above that exists: the home is made by the first run."""
    return next(each for each in (path, *path.parents) if os.path.exists(each))
