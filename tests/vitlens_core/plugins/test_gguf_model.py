"""A GGUF file becomes a folder with the words and weights that were written into it."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers

from tests.tiny_hf import randomised
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.plugins.ask import gguf_model
from vitlens_core.plugins.ask.language import NAMING, open_language_model

LETTERS = "abcdefhilmnoprstuw:.?ODINTWj\n"
# From the best to the worst: a word is made of the best pair first.
WORDS = ["▁s", "of", "▁sof", "▁sofa", "fa", "so", "▁so", "▁l", "am", "▁lam", "▁lamp"]
SIZES = {"width": 8, "blocks": 2, "heads": 2, "hidden": 12}


def _vocabulary() -> tuple[list[str], list[float], list[int]]:
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    letters = ["▁", *LETTERS]
    tokens = [*special, *bytes_, "  ", *letters, *WORDS]
    kinds = [3, 3, 3, 2, *[6] * 256, 4, *[1] * (len(letters) + len(WORDS))]
    scores = [-1000.0] * (len(tokens) - len(WORDS)) + [-float(n) for n in range(len(WORDS))]
    return tokens, scores, kinds


def _stated() -> dict:
    tokens, scores, kinds = _vocabulary()
    numbers = {"padding_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "unknown_token_id": 3}
    listed = {"tokens": tokens, "scores": scores, "token_type": kinds}
    return listed | numbers | {"add_space_prefix": False, "add_bos_token": True}


def test_words_are_merged_in_the_order_of_their_scores() -> None:
    words = gguf_model.tokenizer(_stated())
    assert words.tokenize("a sofa") == ["a", "▁sofa"]
    assert words.tokenize("so fa") == ["so", "▁", "fa"]
    assert words.tokenize(" lamps") == ["▁lamp", "s"]
    assert words("sofa")["input_ids"][0] == 2
    for text in ("a sofa", "two  lamps, é", " sofa"):
        assert words.decode(words(text)["input_ids"], skip_special_tokens=True) == text
    assert words.tokenize("a  b") == ["a", "▁▁", "b"]


def _write(path: Path, model: transformers.LlamaForCausalLM, kind: str = "llama") -> Path:
    """Write a Llama as GGUF in fp32, by the format's own writer."""
    tokens, scores, kinds = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(SIZES["width"])
    writer.add_block_count(SIZES["blocks"])
    writer.add_feed_forward_length(SIZES["hidden"])
    writer.add_head_count(SIZES["heads"])
    writer.add_head_count_kv(SIZES["heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(SIZES["width"] // SIZES["heads"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    for name, number in (("pad", 0), ("eos", 1), ("bos", 2), ("unk", 3)):
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_space_prefix(False)
    for name, array in _tensors(model).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(model: transformers.LlamaForCausalLM) -> dict[str, np.ndarray]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, SIZES["blocks"])
    found = {}
    for name, tensor in model.state_dict().items():
        stem, _, end = name.rpartition(".")
        array = tensor.numpy()
        if ".q_proj" in stem or ".k_proj" in stem:
            # GGUF stores the halves of a rotary pair beside each other.
            heads = array.reshape(SIZES["heads"], 2, -1, array.shape[-1])
            array = np.ascontiguousarray(heads.swapaxes(1, 2).reshape(array.shape))
        found[f"{names.get_name(stem)}.{end}"] = array
    return found


@pytest.fixture
def model() -> transformers.LlamaForCausalLM:
    config = transformers.LlamaConfig(
        hidden_size=SIZES["width"], num_hidden_layers=SIZES["blocks"], vocab_size=len(
            _vocabulary()[0]), num_attention_heads=SIZES["heads"], num_key_value_heads=2,
        intermediate_size=SIZES["hidden"], max_position_embeddings=64,
    )  # fmt: skip
    return randomised(transformers.LlamaForCausalLM(config))


@torch.inference_mode()
def test_the_folder_has_the_weights_and_words_of_the_file(tmp_path: Path, model) -> None:
    file = _write(tmp_path / "tiny.gguf", model)
    gguf_model.convert(file, tmp_path / "folder")
    opened = open_language_model(f"hf:{tmp_path / 'folder'}")
    ids = torch.tensor([opened.words("a sofa, a lamp")["input_ids"]])
    torch.testing.assert_close(opened.model(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    sofa = opened.words.convert_tokens_to_ids("▁sofa")
    assert opened.name_ids(NAMING[0], "sofa") == [sofa]
    with pytest.raises(ConfigError, match="exists: name a folder"):
        gguf_model.convert(file, tmp_path / "folder")


def test_other_tokenizers_and_other_files_are_refused(tmp_path: Path, model) -> None:
    with pytest.raises(InputError, match="tokenizer of the kind 'gpt2'; expected 'llama'"):
        gguf_model.convert(_write(tmp_path / "other.gguf", model, "gpt2"), tmp_path / "folder")
    (tmp_path / "none.gguf").write_bytes(b"no GGUF at all, but some bytes" * 9)
    with pytest.raises(InputError, match="is no GGUF file"):
        gguf_model.convert(tmp_path / "none.gguf", tmp_path / "folder")
