"""Whatever a file does to the process that reads it, the next one is read."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipelines.service.config import Limits
from pipelines.service.decoding import Decoders
from tests.vitlens_core.rendering.glb_builder import Glb
from vitlens_core.api.encoders import Preparation
from vitlens_core.errors import InputError
from vitlens_core.modalities.imu import ImuSignal
from vitlens_core.modalities.point_cloud import PointCloudSignal

IMU = Preparation("imu", ImuSignal())
CLOUD = Preparation("point_cloud", PointCloudSignal(points=16))


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(1, Limits(decode_s=3, decode_mb=512, decode_all_s=5))
    decoders.wait()
    yield decoders
    decoders.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.ones((6, 2000), np.float32))
    return tmp_path / "x.npy"


def prepare(
    decoders: Decoders, path: Path, preparation: Preparation = IMU, **options: object
) -> np.ndarray:
    async def asked() -> np.ndarray:
        return await decoders.prepare(preparation, path, options, decoders.budget())

    return asyncio.run(asked())


def slow_glb(targets: int, points: int) -> bytes:
    """A small and valid object whose morph targets take long to add."""
    glb = Glb()
    positions = np.random.default_rng(0).random((points, 3)).astype(np.float32)
    glb.show(glb.add_mesh(positions))
    mesh = glb.document["meshes"][0]
    mesh["primitives"][0]["targets"] = [{"POSITION": 0}] * targets
    mesh["weights"] = [1e-6] * targets
    return glb.pack()


def bomb() -> bytes:
    """An .npz of 8 GB of zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        kind = {"descr": "<f8", "fortran_order": False, "shape": (2**30,)}
        np.lib.format.write_array_header_2_0(header, kind)
        with archive.open("a.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(64):
                member.write(bytes(2**20))
    return file.getvalue()


def test_a_good_file_comes_back_prepared(decoders: Decoders, path: Path) -> None:
    found = prepare(decoders, path)
    np.testing.assert_array_equal(found, IMU(path, {}))


def test_a_slow_file_is_refused_and_the_next_is_read(decoders: Decoders, path: Path) -> None:
    slow = path.with_name("slow.glb")
    slow.write_bytes(slow_glb(100_000, 300_000))
    with pytest.raises(InputError, match=r"slow.glb exceeded 3 s|cannot be read|more than"):
        prepare(decoders, slow, CLOUD)
    assert prepare(decoders, path).shape == (6, 2000)


def test_a_bomb_is_refused_and_the_next_is_read(decoders: Decoders, path: Path) -> None:
    large = path.with_name("large.npz")
    large.write_bytes(bomb())
    with pytest.raises(InputError, match=r"large.npz"):
        prepare(decoders, large)
    assert prepare(decoders, path).shape == (6, 2000)


def test_a_wrong_option_and_a_wrong_file_keep_the_child(decoders: Decoders, path: Path) -> None:
    prepare(decoders, path)
    before = decoders.pids
    with pytest.raises(InputError, match=r"x.npy"):
        prepare(decoders, path, rate_hz="fast")
    text = path.with_name("text.npy")
    text.write_text("no array")
    with pytest.raises(InputError, match=r"text.npy"):
        prepare(decoders, text)
    assert decoders.pids == before


def test_a_child_that_was_lost_is_replaced(decoders: Decoders, path: Path) -> None:
    prepare(decoders, path)
    (before,) = decoders.pids
    os.kill(before, signal.SIGKILL)
    with pytest.raises(InputError, match="crashed the process that read it"):
        prepare(decoders, path)
    assert prepare(decoders, path).shape == (6, 2000)
    assert decoders.pids != [before]


def test_the_files_of_a_request_share_a_budget(decoders: Decoders, path: Path) -> None:
    """Files that each keep their limit do not hold the children for long all together."""
    slow = path.with_name("slow.glb")
    slow.write_bytes(slow_glb(100_000, 300_000))

    async def many() -> list[object]:
        budget = decoders.budget()
        asked = [decoders.prepare(CLOUD, slow, {}, budget) for _ in range(32)]
        return await asyncio.gather(*asked, return_exceptions=True)

    ends = asyncio.run(many())
    assert all(isinstance(end, InputError) for end in ends)
    assert sum("can be read in 5 s together" in str(end) for end in ends) >= 28
    assert prepare(decoders, path).shape == (6, 2000)


def test_the_event_loop_goes_on_meanwhile(decoders: Decoders, path: Path) -> None:
    slow = path.with_name("slow.glb")
    slow.write_bytes(slow_glb(100_000, 300_000))

    async def ticks() -> int:
        reading = asyncio.ensure_future(decoders.prepare(CLOUD, slow, {}, decoders.budget()))
        count = 0
        while not reading.done():
            await asyncio.sleep(0.05)
            count += 1
        with pytest.raises(InputError):
            await reading
        return count

    assert asyncio.run(ticks()) > 10


def test_closing_ends_the_children() -> None:
    decoders = Decoders(1, Limits())
    decoders.wait()
    (pid,) = decoders.pids
    decoders.close()
    assert not psutil.pid_exists(pid)
