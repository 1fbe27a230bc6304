"""pickled: what is published opens, and nothing else is made."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.benchmarks.small_clouds import object_array
from vitlens_core.errors import InputError
from vitlens_core.readers.pickled import read_npy, read_pickle


class Trap:
    """Writes a file as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_numbers_and_texts_open_whatever_the_protocol(tmp_path, protocol):
    content = {
        "xyz": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "number": np.float32(2.5),
        "text": ["a", ("b", b"\x00\xff")],
    }
    (tmp_path / "a.dat").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(tmp_path / "a.dat")
    assert found["number"] == 2.5
    assert found["text"] == content["text"]
    for name in ("xyz", "fortran"):
        np.testing.assert_array_equal(found[name], content[name])


def test_object_and_plain_npy_open(tmp_path):
    np.save(tmp_path / "a.npy", object_array([{"xyz": np.ones(2)}, {"xyz": np.zeros(3)}]))
    assert [len(item["xyz"]) for item in read_npy(tmp_path / "a.npy")] == [2, 3]
    np.save(tmp_path / "b.npy", np.arange(4))
    assert read_npy(tmp_path / "b.npy").tolist() == [0, 1, 2, 3]


def test_nothing_that_a_pickle_asks_for_is_run(tmp_path):
    touched = tmp_path / "touched"
    np.save(tmp_path / "a.npy", np.array({"xyz": Trap(touched)}, dtype=object), allow_pickle=True)
    (tmp_path / "a.dat").write_bytes(pickle.dumps([Trap(touched)]))
    with pytest.raises(InputError, match="only arrays are opened"):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(InputError, match="only arrays are opened"):
        read_pickle(tmp_path / "a.dat")
    assert not touched.exists()


def test_bytes_are_of_latin1_and_of_no_other_codec(tmp_path):
    """`_codecs.encode` as protocol 2 calls it; another name would have a codec imported."""
    spelt = pickle.dumps(b"\xff" * 3, protocol=2)
    (tmp_path / "a.dat").write_bytes(spelt)
    assert read_pickle(tmp_path / "a.dat") == b"\xff" * 3
    (tmp_path / "a.dat").write_bytes(spelt.replace(b"latin1", b"rot_13"))
    with pytest.raises(InputError, match="bytes as rot_13"):
        read_pickle(tmp_path / "a.dat")


@pytest.mark.parametrize("keep", [0, 4, 20, 150, -3])
def test_a_file_cut_short_is_refused(tmp_path, keep):
    path = tmp_path / "a.npy"
    np.save(path, object_array([{"xyz": np.ones((50, 3))}]))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"a\.npy"):
        read_npy(path)


def test_a_header_that_lies_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, object_array([1, 2]))
    path.write_bytes(path.read_bytes().replace(b"(2,)", b"(3,)"))
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        read_npy(path)
