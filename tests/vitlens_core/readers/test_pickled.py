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


ARRAY = pickle.dumps(np.arange(3.0), protocol=2)


def _state(dtype: object, state: object, data: object, shape: tuple = (1,)) -> bytes:
    """A pickle that makes an array by its state, as numpy's own do."""
    return b"".join(
        (
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n",
            b"K\x00\x85U\x01b\x87R(K\x01",
            pickle.dumps(shape, 2)[2:-1],
            b"cnumpy\ndtype\n",
            pickle.dumps((dtype, False, True), 2)[2:-1],
            b"R",
            pickle.dumps(state, 2)[2:-1] + b"b" if state is not None else b"",
            b"\x89",
            pickle.dumps(data, 2)[2:-1],
            b"tb.",
        )
    )


LITTLE = (3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize(
    "data",
    [
        # A pointer of the attacker's choice as an object.
        b"cnumpy\nndarray\n((K\x01tU\x01OC\x08AAAAAAAAtR.",
        _state("O8", (3, "|", None, None, None, -1, -1, 0), b"A" * 8),
        _state("O8", (3, "|", None, None, None, -1, -1, 63), b"A" * 8),
        _state("V8", (3, "|", None, ("a",), {"a": ("O", 0)}, 8, 1, 0), b"A" * 8),
        _state("f8", (3, "<", ("O", (1,)), None, None, -1, -1, 0), b"A" * 8),
        _state("f8", (3, "<", None, None, None, 2**40, -1, 0), b"A" * 9),
        _state("f8", (3, "O", None, None, None, -1, -1, 0), b"A" * 8),
        _state("O,O", LITTLE, b"A" * 16),
        _state("M8[s]", LITTLE, b"A" * 8),
        # More elements than bytes, and shapes that overflow.
        _state("f8", LITTLE, b"A" * 8, (2**40,)),
        _state("f8", LITTLE, b"A" * 8, (2**62, 4)),
        _state("f8", LITTLE, b"A" * 8, (-1,)),
        _state("f8", LITTLE, b"A" * 8, (1,) * 40),
        _state("f8", LITTLE, "text \u0100"),
        _state("O8", (3, "|", None, None, None, -1, -1, 63), [1, 2], (3,)),
        # States that are set twice, of functions, or not at all.
        ARRAY[:-1] + b"(tb.",
        b"cnumpy\ndtype\n}U\x05_kindU\x06encodesb.",
        b"cnumpy\ndtype\nN}U\x05_kindU\x06encodes\x86b.",
        b"cnumpy\ndtype\n.",
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(U\x01OI0\nI1\ntRU\x08AAAAAAAAtR.",
        b"cnumpy._core.numeric\n_frombuffer\n(U\x08AAAAAAAAU\x01OK\x01\x85U\x01CtR.",
        # Memory: a memo of two thousand million places; and nesting without an end.
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02]q\x00h\x00a.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"P1\n.",
        b"\x82\x01.",
    ],
)
def test_a_forged_pickle_is_refused_and_the_next_file_opens(tmp_path, data):
    (tmp_path / "a.dat").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.dat"):
        read_pickle(tmp_path / "a.dat")
    (tmp_path / "b.dat").write_bytes(ARRAY)
    assert read_pickle(tmp_path / "b.dat").tolist() == [0, 1, 2]


def test_the_state_that_the_forgeries_change_is_otherwise_that_of_an_array(tmp_path):
    (tmp_path / "a.dat").write_bytes(_state("f8", LITTLE, np.float64(2.5).tobytes()))
    assert read_pickle(tmp_path / "a.dat").tolist() == [2.5]


def test_every_kind_of_value_comes_back_from_the_child(tmp_path):
    content = {
        1: [True, None, 2**80, 0.5, float("inf"), "é", b"\xff", ("a", ["b"])],
        "big": np.arange(3, dtype=">i4"),
        "texts": np.array(["ab", "c"]),
        "bytes": np.array([b"ab", b"c"]),
        "nested": object_array([np.ones(2, np.float16), {"x": np.zeros((0, 3))}]),
        "truth": np.array([True, False]),
        "column": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "point": np.array(3.5),
        "complex": [np.int8(3), np.str_("x")],
    }
    for protocol in (2, 4, 5):
        (tmp_path / "a.dat").write_bytes(pickle.dumps(content, protocol=protocol))
        found = read_pickle(tmp_path / "a.dat")
        assert found.keys() == content.keys()
        assert found[1] == content[1]
        for name in ("big", "texts", "bytes", "truth", "column", "point"):
            np.testing.assert_array_equal(found[name], content[name])
        assert found["nested"][0].dtype == np.float16
        assert found["nested"][1]["x"].shape == (0, 3)


@pytest.mark.nightly
def test_mutated_pickles_never_end_the_reader(tmp_path):
    rng = np.random.default_rng(0)
    seeds = [pickle.dumps(np.arange(4.0), p) for p in (0, 2, 4, 5)]
    seeds += [pickle.dumps(object_array([{"x": np.ones(2)}]), p) for p in (2, 4, 5)]
    for number in range(20_000):
        data = bytearray(seeds[number % len(seeds)])
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(256)
        (tmp_path / "a.dat").write_bytes(data)
        try:
            read_pickle(tmp_path / "a.dat")
        except InputError as error:
            assert "crashed" not in str(error), data.hex()  # noqa: PT017
