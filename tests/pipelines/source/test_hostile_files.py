"""A data set with hostile files: each is set aside with its reason, and the job goes on."""

from __future__ import annotations

import csv
import io
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from pipelines.execution.runtime import Runtime
from pipelines.shards.recorded import RecordedPairs
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.source import job as source
from pipelines.source.base import Pair
from pipelines.source.datasets.manifest import Manifest
from pipelines.source.datasets.webdataset_tars import WebdatasetTars
from pipelines.source.job import tasks_of_source
from pipelines.source.reading import PairReader, Wanted
from pipelines.store.artifacts import Quarantined
from pipelines.store.keys import LONGEST_KEY, is_key, plain_key
from tests.chaos.fuzzing import picture
from tests.pipelines.service.test_decoding import bomb, slow_glb
from tests.pipelines.shard_bytes import encode_shard
from vitlens_core import caps
from vitlens_core.errors import BadSampleError, ConfigError, InputError
from vitlens_core.modalities.imu import ImuSignal
from vitlens_core.modalities.point_cloud import PointCloudSignal
from vitlens_core.sandbox.worker import Sandbox

pytestmark = pytest.mark.slow

CLOUDS = StoredSignal("point_cloud", PointCloudSignal(points=16))


def _npy(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + body


def _whole_cloud() -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).random((64, 3)).astype(np.float32))
    return file.getvalue()


HOSTILE: dict[str, bytes] = {
    "slow.glb": slow_glb(100_000, 300_000),
    "bomb.npz": bomb(),
    "huge.npy": _npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}\n"),
    "objects.npy": _npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", b"A" * 64),
    "nested.npy": _npy(b"(" * 5000 + b")" * 5000 + b"\n"),
    "code.npy": _npy(b"__import__('os').system('true')\n"),
    "lists.ply": b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar float x\n"
    b"property float y\nproperty float z\nend_header\n3 1 2 3 4 5\n",
    "many.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999\n"
    b"property float x\nproperty float y\nproperty float z\nend_header\n",
    "text.npz": b"no archive",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest of hostile files between whole ones."""
    names = [f"whole{n}.npy" for n in range(3)]
    for name in names:
        (tmp_path / name).write_bytes(_whole_cloud())
    for name, content in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("signal", "label", "key"))
        for number, name in enumerate([names[0], *HOSTILE, *names[1:]]):
            rows.writerow((name, "chair", f"k{number:02d}"))
    return tmp_path


def test_each_bad_file_is_quarantined_and_the_whole_ones_are_stored(
    folder: Path, runtime: Runtime
) -> None:
    settings = Manifest(root=str(folder), read_s=4, read_mb=512)
    made = source.run(runtime, settings, "point_cloud")
    stage = RecordedPairs(ShardsConfig(image_px=16), CLOUDS, settings, made)
    ends = [end for task in tasks_of_source(made) for end in stage.samples(task)]
    stage.close()
    refused = {end.key: end.reason for end in ends if isinstance(end, Quarantined)}
    assert len(ends) == len(HOSTILE) + 3
    assert set(refused) == {f"k{number + 1:02d}" for number in range(len(HOSTILE))}
    assert all(reason for reason in refused.values())


def test_a_crash_of_the_decoder_is_a_bad_sample(folder: Path) -> None:
    reader = PairReader(Manifest(root=str(folder)), Wanted("point_cloud", CLOUDS.config))
    whole = Pair("a", "whole0.npy")
    before = reader.read(whole).signal
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGSEGV)
    with pytest.raises(BadSampleError, match="crashed the process"):
        reader.read(whole)
    np.testing.assert_array_equal(reader.read(whole).signal, before)
    reader.close()


@pytest.mark.parametrize("name", ["../secret.npy", "/etc/passwd", "out.npy", "a/../../secret.npy"])
def test_a_name_that_leaves_the_data_set_is_refused(
    folder: Path, runtime: Runtime, name: str
) -> None:
    root = folder / "root"
    root.mkdir()
    (folder / "secret.npy").write_bytes(_whole_cloud())
    os.symlink(folder / "secret.npy", root / "out.npy")
    (root / "manifest.csv").write_text(f"signal,label,key\n{name},chair,a\n")
    settings = Manifest(root=str(root))
    with pytest.raises(ConfigError):
        source.run(runtime, settings, "point_cloud")
    reader = PairReader(settings, Wanted("point_cloud", CLOUDS.config))
    with pytest.raises(InputError):
        reader.read(Pair("a", name))
    with pytest.raises(InputError):
        settings.place(name)
    reader.close()


def test_the_child_sees_its_data_set_only(folder: Path, tmp_path_factory) -> None:
    """Also where the check in the parent is left out."""
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.npy"
    secret.write_bytes(_whole_cloud())
    os.symlink(secret, folder / "out.npy")
    reader = PairReader(Manifest(root=str(folder)), Wanted("point_cloud", CLOUDS.config))
    reader.read(Pair("a", "whole0.npy"))
    sandbox: Sandbox = reader._sandbox
    pair = {"key": "a", "signal": "out.npy", "reader_options": {}, "images": [], "texts": []}
    with pytest.raises((InputError, BadSampleError)):
        sandbox.ask({"pair": pair, "inbox": str(sandbox.inbox)})
    reader.close()


def test_a_long_name_makes_a_key_that_a_tar_can_hold(folder: Path, runtime: Runtime) -> None:
    name = "x" * 200 + ".npy"
    (folder / name).write_bytes(_whole_cloud())
    (folder / "manifest.csv").write_text(
        f"signal,label,split\n{name},chair,train\nwhole0.npy,lamp,test\n"
    )
    settings = Manifest(root=str(folder))
    made = source.run(runtime, settings, "point_cloud")
    stage = RecordedPairs(ShardsConfig(image_px=16), CLOUDS, settings, made)
    samples = [s for task in tasks_of_source(made) for s in stage.samples(task)]
    stage.close()
    assert len(samples) == 2
    for sample in samples:
        assert isinstance(sample, dict)
        longest = {**sample, "teacher_fifteen_letters_targets.npy": b"x"}
        assert encode_shard([longest])


@pytest.mark.parametrize("text", ["x" * 150, "é" * 150, "a/b" * 80, "x" * LONGEST_KEY])
def test_keys_are_bounded_and_differ(text: str) -> None:
    assert is_key(plain_key(text))
    assert plain_key(text) != plain_key(f"{text}1")


def test_a_key_that_is_too_long_is_refused(folder: Path, runtime: Runtime) -> None:
    (folder / "manifest.csv").write_text(f"signal,label,key\nwhole0.npy,chair,{'k' * 150}\n")
    with pytest.raises(ConfigError, match="key"):
        source.run(runtime, Manifest(root=str(folder)), "point_cloud")


def test_a_parquet_that_unpacks_to_more_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caps, "TABLE_BYTES", 2**22)
    count = 200_000
    columns = {"signal": ["a.npy"] * count, "label": ["x" * 1000] * count}
    table = pyarrow.table({n: pyarrow.array(v).dictionary_encode() for n, v in columns.items()})
    pyarrow.parquet.write_table(table, folder / "manifest.parquet")
    assert (folder / "manifest.parquet").stat().st_size < 2**22
    with pytest.raises(ConfigError, match="unpacks to more"):
        list(Manifest(root=str(folder), table="manifest.parquet").pairs())


def test_a_table_or_list_that_is_too_large_is_refused(folder: Path) -> None:
    with (folder / "manifest.csv").open("ab") as file:
        file.truncate(caps.TABLE_BYTES + 1)
    with pytest.raises(InputError, match="expected a table of up to"):
        list(Manifest(root=str(folder)).pairs())


def test_a_tars_files_are_read_in_the_child(tmp_path: Path) -> None:
    recording = io.BytesIO()
    np.save(recording, np.ones((6, 2500), np.float32))
    files = {"npy": recording.getvalue(), "jpg": picture("JPEG"), "txt": b"a walk"}
    sample = {"__key__": "a", **files}
    (tmp_path / "x.tar").write_bytes(encode_shard([sample]))
    settings = WebdatasetTars(root=str(tmp_path), signal="npy", train=("x.tar",))
    (pair,) = settings.pairs()
    assert isinstance(pair, Pair)
    reader = PairReader(settings, Wanted("imu", ImuSignal(), 16))
    found = reader.read(pair)
    assert found.signal is not None
    assert found.signal.shape == (6, 2000)
    assert found.images[0].shape == (16, 16, 3)
    assert not list(reader._sandbox.inbox.iterdir())
    reader.close()


@pytest.mark.parametrize("pattern", ["../*.tar", "a/../../*.tar", "/etc/*", ""])
def test_globs_stay_in_the_data_set(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "x.tar").write_bytes(encode_shard([{"__key__": "a", "npy": b"x", "txt": b"x"}]))
    settings = WebdatasetTars(root=str(tmp_path / "root"), signal="npy", train=(pattern,))
    with pytest.raises(ConfigError, match="no tar"):
        list(settings.pairs())
