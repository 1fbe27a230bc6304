"""The render child: same results every time, and nothing an object does outlives it."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.vitlens_core.rendering.glb_builder import Glb, cube, solid
from vitlens_core.errors import BadSampleError, ConfigError
from vitlens_core.rendering import (
    ObjectRenderer,
    RenderedObject,
    RenderSettings,
    RenderWorker,
)

SMALL = RenderSettings(size_px=32, points=200)
CUBE = cube(solid(200, 100, 50)).pack()


@pytest.fixture(scope="module")
def worker() -> Iterator[RenderWorker]:
    with RenderWorker(SMALL) as worker:
        yield worker


def _assert_equal(first: RenderedObject, second: RenderedObject) -> None:
    np.testing.assert_array_equal(first.rgba, second.rgba)
    np.testing.assert_array_equal(first.depth_m, second.depth_m)
    np.testing.assert_array_equal(first.points, second.points)
    assert first.normalisation == second.normalisation


def _many_triangles(count: int) -> bytes:
    """A large and valid object."""
    glb = Glb()
    positions = np.random.default_rng(0).random((count, 3)).astype(np.float32)
    return glb.show(glb.add_mesh(positions)).pack()


def _slow() -> bytes:
    """A small and valid object that takes minutes: one morph target, applied 100,000 times."""
    glb = Glb()
    positions = np.random.default_rng(0).random((300_000, 3)).astype(np.float32)
    glb.show(glb.add_mesh(positions))
    mesh = glb.document["meshes"][0]
    mesh["primitives"][0]["targets"] = [{"POSITION": 0}] * 100_000
    mesh["weights"] = [1e-6] * 100_000
    return glb.pack()


def test_an_object_comes_back_whole(worker: RenderWorker) -> None:
    rendered = worker.render(CUBE, seed=0)
    assert rendered.rgba.shape == (12, 32, 32, 4)
    assert rendered.rgba.dtype == np.uint8
    assert rendered.depth_m.shape == (12, 32, 32)
    assert rendered.points.shape == (200, 6)
    assert rendered.points.dtype == rendered.depth_m.dtype == np.float32
    assert len(rendered.cameras) == 12
    assert rendered.normalisation.scale == pytest.approx(0.4)
    assert set(rendered.seconds) == {"load", "views", "sample", "order"}


def test_results_are_equal_across_processes_and_restarts(worker: RenderWorker) -> None:
    first = worker.render(CUBE, seed=5)
    worker.close()
    _assert_equal(first, worker.render(CUBE, seed=5))
    with ObjectRenderer(SMALL) as here:
        _assert_equal(first, here.render(CUBE, seed=5))


def test_the_seed_moves_the_points_only(worker: RenderWorker) -> None:
    first, second = worker.render(CUBE, seed=1), worker.render(CUBE, seed=2)
    np.testing.assert_array_equal(first.rgba, second.rgba)
    assert not np.array_equal(first.points, second.points)


def test_a_bad_object_gives_its_reason_and_keeps_the_child(worker: RenderWorker) -> None:
    worker.render(CUBE, seed=0)
    before = worker.child_pid
    with pytest.raises(BadSampleError, match="HTML or XML"):
        worker.render(b"<html>", seed=0)
    worker.render(CUBE, seed=0)
    assert worker.child_pid == before


def test_the_time_limit_kills_and_the_next_object_renders() -> None:
    settings = RenderSettings(size_px=32, points=200, time_limit_s=3)
    with RenderWorker(settings) as worker:
        with pytest.raises(BadSampleError, match="exceeded 3 s"):
            worker.render(_slow(), seed=0)
        assert worker.child_pid is None
        worker.render(CUBE, seed=0)


def test_the_memory_limit_stops_an_object_and_the_next_one_renders() -> None:
    large = _many_triangles(1_500_000)
    with RenderWorker(RenderSettings(size_px=32, points=200, memory_limit_mb=128)) as worker:
        with pytest.raises(BadSampleError, match="needs more than 128 MB"):
            worker.render(large, seed=0)
        worker.render(CUBE, seed=0)


def test_a_crash_names_its_signal_and_the_next_object_renders(worker: RenderWorker) -> None:
    worker.render(CUBE, seed=0)
    assert worker.child_pid is not None
    os.kill(worker.child_pid, signal.SIGSEGV)
    with pytest.raises(BadSampleError, match="SIGSEGV"):
        worker.render(CUBE, seed=0)
    worker.render(CUBE, seed=0)


def test_the_child_is_recycled() -> None:
    with RenderWorker(RenderSettings(size_px=32, points=200, recycle_after=2)) as worker:
        pids = []
        for _ in range(3):
            worker.render(CUBE, seed=0)
            pids.append(worker.child_pid)
    assert pids[0] == pids[1] != pids[2]


def test_an_interrupted_answer_is_not_taken_for_the_next_one(worker: RenderWorker) -> None:
    worker.render(CUBE, seed=0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.render(_slow(), seed=1)
    finally:
        interrupt.join()
        signal.signal(signal.SIGINT, before)
    fresh = worker.render(CUBE, seed=2)
    _assert_equal(fresh, worker.render(CUBE, seed=2))


def test_closing_leaves_no_process_behind() -> None:
    with RenderWorker(SMALL) as worker:
        worker.render(CUBE, seed=0)
        pid = worker.child_pid
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_the_child_leaves_when_its_parent_is_killed() -> None:
    script = f"""
        import sys, time
        from vitlens_core.rendering import RenderSettings, RenderWorker
        worker = RenderWorker(RenderSettings(size_px=32, points=200))
        worker.render(bytes.fromhex("{CUBE.hex()}"), seed=0)
        print("ready", flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_a_script_without_a_main_guard_may_use_a_worker(tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    script.write_text(
        "from vitlens_core.rendering import RenderSettings, RenderWorker\n"
        "with RenderWorker(RenderSettings(size_px=32, points=200)) as worker:\n"
        f"    print(worker.render(bytes.fromhex('{CUBE.hex()}'), seed=0).rgba.shape)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "(12, 32, 32, 4)\n"


def test_rendering_never_imports_torch() -> None:
    check = "import sys, vitlens_core.rendering.child; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_child_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="did not start"), RenderWorker(SMALL) as worker:
        worker.render(CUBE, seed=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"renderer": "eevee"},
        {"size_px": 0},
        {"polar_deg": (0.0,)},
        {"points": 0},
        {"time_limit_s": 0.0},
        {"recycle_after": 0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        RenderSettings(**wrong)
