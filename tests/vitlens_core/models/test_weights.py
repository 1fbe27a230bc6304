"""Reading weight files and loading them strictly."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vitlens_core.errors import CheckpointError
from vitlens_core.models.weights import load_strictly, read_weights


@pytest.fixture
def tensors():
    return {"weight": torch.randn(2, 3), "bias": torch.randn(2)}


def _equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[k], expected[k]) for k in found
    )


def test_all_forms_of_weights_read_the_same(tmp_path, tensors):
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save(tensors, tmp_path / "bare.pth")
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "nested.pt")
    sources = [tensors, *(tmp_path / n for n in ("w.safetensors", "bare.pth", "nested.pt"))]
    assert all(_equal(read_weights(source), tensors) for source in sources)
    assert _equal(read_weights(str(tmp_path / "nested.pt")), tensors)


class _Opens:
    def __reduce__(self):
        return (print, ("code in a pickle",))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", pickle.dumps(_Opens())])
def test_other_files_are_refused_and_run_nothing(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read weights"):
        read_weights(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_pickled_objects_are_refused_and_run_nothing(tmp_path, capsys):
    torch.save({"weight": _Opens()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="cannot read weights"):
        read_weights(tmp_path / "w.pt")
    assert capsys.readouterr().out == ""


def test_a_truncated_file_is_refused(tmp_path, tensors):
    torch.save(tensors, tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot read weights"):
        read_weights(tmp_path / "w.pt")


def test_what_is_not_a_state_dictionary_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(CheckpointError, match="found list"):
        read_weights(tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="expected tensors only, found others: epoch"):
        read_weights(tmp_path / "numbers.pt")
    with pytest.raises(CheckpointError, match="no weights at"):
        read_weights(tmp_path / "absent.pt")


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_loading_copies(tensors, device):
    module = nn.Linear(3, 2, device=device)
    load_strictly(module, tensors)
    assert _equal(module.state_dict(), tensors)
    tensors["bias"].zero_()
    assert module.bias.any()


def test_all_faults_are_listed_at_once(tensors):
    wrong = {"weight": torch.zeros(2, 4), "biass": tensors["bias"]}
    with pytest.raises(CheckpointError) as error:
        load_strictly(nn.Linear(3, 2), wrong)
    assert "missing: bias; unexpected: biass; " in str(error.value)
    assert "of another shape: weight (found [2, 4], expected [2, 3])" in str(error.value)


def test_a_failed_load_leaves_the_module_as_it_was(tensors):
    module = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    del tensors["bias"]
    with pytest.raises(CheckpointError):
        load_strictly(module, tensors)
    assert _equal(module.state_dict(), before)


def test_recomputed_buffers_are_allowed_not_required(tensors):
    load_strictly(nn.Linear(3, 2), tensors, recomputed=("mask",))
    load_strictly(nn.Linear(3, 2), tensors | {"mask": torch.zeros(1)}, recomputed=("mask",))
    with pytest.raises(CheckpointError, match="unexpected: mask"):
        load_strictly(nn.Linear(3, 2), tensors | {"mask": torch.zeros(1)})


def test_long_lists_are_cut(tensors):
    many = tensors | {f"extra_{i:03}": torch.zeros(1) for i in range(300)}
    with pytest.raises(CheckpointError, match=r"extra_019 and 280 more\. "):
        load_strictly(nn.Linear(3, 2), many)
