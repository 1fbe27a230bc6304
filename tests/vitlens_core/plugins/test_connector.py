"""Language models behind a connector, on randomised tiny weights in the published format."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import vitlens_core
from tests import tiny_hf, tiny_language
from tests.tiny_language import connector
from tests.tiny_models import tiny_tower, tower_settings
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.foundation import load_foundation
from vitlens_core.plugins.ask import open_question_model
from vitlens_core.plugins.ask.connected import ConnectedModel
from vitlens_core.plugins.ask.connector import (
    Connector,
    encode_connector,
    load_connector,
)
from vitlens_core.plugins.ask.language import NAMING, LanguageModel, open_language_model

KINDS = sorted(tiny_language.MODELS)
NAMES = ["chair", "lamp", "what"]
QUESTIONS = ["what is it?", "a lamp, or a chair {} {x}? what is it used for?"]
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return cache(lambda kind: tiny_language.write(kind, tmp_path_factory.mktemp("language") / kind))


@pytest.fixture(scope="module")
def language(folder: Folder) -> Callable[[str], LanguageModel]:
    return cache(lambda kind: open_language_model(f"hf:{folder(kind)}"))


@pytest.fixture(scope="module")
def connected(
    language: Callable[[str], LanguageModel], tiny_open_clip: str, tmp_path_factory
) -> Callable[[str], ConnectedModel]:
    digest = load_foundation(tiny_open_clip).digest()

    @cache
    def put(kind: str) -> ConnectedModel:
        path = tmp_path_factory.mktemp("connector") / "connector.safetensors"
        path.write_bytes(connector(language(kind), digest, tiny_open_clip))
        return ConnectedModel.open(language(kind), path)

    return put


@pytest.fixture(scope="module")
def model(tiny_open_clip: str, tmp_path_factory: pytest.TempPathFactory) -> vitlens_core.Model:
    foundation = load_foundation(tiny_open_clip)
    path = tmp_path_factory.mktemp("lens") / "lens.safetensors"
    state = tiny_tower(foundation).trained_state()
    settings = tower_settings()
    path.write_bytes(encode_lens(state, settings, tiny_open_clip, foundation.digest()))
    return vitlens_core.load(path)


def _clouds(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        np.concatenate([rng.normal(size=(50, 3)), np.full((50, 3), index % 2)], 1).astype("f4")
        for index in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_words_own_embedding_as_soft_token_gives_the_logits_of_the_text(kind, language):
    by = language(kind)
    token = by.words.convert_tokens_to_ids("Ġchair")
    assert token != by.words.unk_token_id
    for prompt in NAMING:
        before, after = (by.words(part, add_special_tokens=False)["input_ids"] for part in prompt)
        written = torch.tensor([[*before, token, *after]])
        fed = by.prompted(prompt, by.embedded([token]))
        found = by.model(inputs_embeds=fed).logits
        # fp32: embeddings are looked up in another order only.
        torch.testing.assert_close(by.model(written).logits, found, rtol=1e-4, atol=1e-5)
        other = by.model(inputs_embeds=by.prompted(prompt, by.embedded([token - 1]))).logits
        assert (other - found)[:, -1].abs().max() > 1e-3, "the soft token must matter"


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_scores_are_the_log_likelihoods_of_the_names_tokens(kind, language):
    by = language(kind)
    names = ["chair", "a lamp, a chair"]
    soft = torch.randn(3, by.width, generator=torch.Generator().manual_seed(0))
    prefix = by.prompted(NAMING[0], soft)
    found = by.scores(NAMING[0], prefix, names)
    for column, name in enumerate(names):
        ids = by.words(f" {name}", add_special_tokens=False)["input_ids"]
        whole = torch.cat([prefix, by.embedded(ids).expand(3, -1, -1)], dim=1)
        logits = by.model(inputs_embeds=whole).logits[:, prefix.shape[1] - 1 : -1]
        chosen = logits.log_softmax(-1)[:, torch.arange(len(ids)), ids]
        torch.testing.assert_close(found[:, column], chosen.sum(dim=1), rtol=1e-4, atol=1e-4)
        # The loss is over the same tokens.
        mean = -chosen.mean()
        torch.testing.assert_close(by.loss(NAMING[0], soft, [name] * 3), mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_answers_as_its_questions_one_by_one(kind, connected, model):
    by, clouds = connected(kind), _clouds(2)
    together = model.ask(clouds, QUESTIONS, by=by, max_new_tokens=6)
    apart = [
        model.ask({"point_cloud": [cloud]}, question, by=by, max_new_tokens=6)[0]
        for cloud, question in zip(clouds, QUESTIONS, strict=True)
    ]
    assert together == apart
    assert together[0].by == by.source
    streamed = "".join(model.stream(clouds[0], QUESTIONS[0], by=by, max_new_tokens=6))
    assert streamed.strip() == together[0].text


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_another_signal_changes_the_answers_logits(kind, connected, model):
    by = connected(kind)
    embedded = model.encode({"point_cloud": _clouds(2)})["point_cloud"]
    one, other, again = (
        by.model(**by.inputs([embedded[[row]]], QUESTIONS[:1], "embedding")).logits[:, -1]
        for row in (0, 1, 0)
    )
    assert torch.equal(one, again)
    assert (one - other).abs().max() > 1e-4


def test_modalities_meet_as_embeddings(connected, model):
    by, cloud = connected("llama"), _clouds(1)[0]
    picture = np.asarray(tiny_hf.pictures(1)[0])
    both = {"image": picture, "point_cloud": cloud}
    assert len(model.ask(both, "what is it?", by=by, max_new_tokens=2)) == 1
    with pytest.raises(ConfigError, match="cannot fuse at 'vit'; choose embedding"):
        model.ask(both, "what is it?", by=by, fusion="vit")
    with pytest.raises(InputError, match="one shape"):
        model.ask({"image": [picture] * 2, "point_cloud": cloud}, "what is it?", by=by)


def test_a_chat_model_is_asked_by_its_template(tmp_path):
    plain = open_language_model(tiny_language.write("llama", tmp_path / "plain"))
    chat = open_language_model(tiny_language.write("llama", tmp_path / "chat", chats=True))
    assert chat.digest == plain.digest
    soft = torch.zeros(plain.width)
    wrapped = chat.words("<|im_start|>user\nHere is", add_special_tokens=False)["input_ids"]
    found = chat.asked("what?", soft)
    torch.testing.assert_close(found[: len(wrapped)], chat.embedded(wrapped))
    assert torch.equal(found[len(wrapped)], soft)
    end = chat.words("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    torch.testing.assert_close(found[-len(end) :], chat.embedded(end))
    assert plain.asked("what?", soft).shape != found.shape
    with pytest.raises(InputError, match="null character"):
        plain.asked("what\x00?", soft)


class Writes:
    """Makes `generate` write given texts, and counts the tokens of each."""

    def __init__(self, words, texts: list[str]) -> None:
        self.ids = [words(text, add_special_tokens=False)["input_ids"] for text in texts]
        self.asked = 0

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        for row, wanted in enumerate(self.ids):
            forced[row, wanted[self.asked]] = 0
        self.asked += 1
        return forced


@pytest.mark.parametrize("chats", [False, True])
def test_the_answer_of_a_base_model_ends_with_its_line(chats, tiny_open_clip, model, tmp_path):
    language = open_language_model(tiny_language.write("llama", tmp_path / "made", chats=chats))
    path = tmp_path / "connector.safetensors"
    digest = load_foundation(tiny_open_clip).digest()
    path.write_bytes(connector(language, digest, tiny_open_clip))
    by = ConnectedModel.open(language, path)
    texts = ["\n a chair\nwhat is it used for?\n", "a lamp, a lamp, a lamp\nwhat is it?\n a chair"]
    writes = Writes(by.words, texts)
    length = min(map(len, writes.ids))
    found = model.ask(
        _clouds(2), "what is it?", by=by, max_new_tokens=length, logits_processor=[writes]
    )
    whole = [by.words.decode(ids[:length]).strip() for ids in writes.ids]
    lines = whole if chats else ["a chair", "a lamp, a lamp, a lamp"]
    assert [answer.text for answer in found] == lines
    writes = Writes(by.words, texts[:1])
    streamed = model.stream(
        _clouds(1)[0], "what is it?", by=by, max_new_tokens=length, logits_processor=[writes]
    )
    assert "".join(streamed).strip() == (whole[0] if chats else "a chair")
    assert (writes.asked < length) is not chats


def test_a_connector_of_another_foundation_is_refused(connected, tiny_open_clip, tmp_path):
    by = connected("llama")
    other = tiny_hf.write("clip", tmp_path / "clip")
    model = vitlens_core.load(foundation=f"hf:{other}")
    picture = np.asarray(tiny_hf.pictures(1)[0])
    with pytest.raises(CheckpointError, match=r"takes embeddings of the foundation .*: train a"):
        model.ask({"image": picture}, "what is it?", by=by)


def test_a_connector_of_another_language_model_is_refused(language, folder, tmp_path):
    path = tmp_path / "connector.safetensors"
    path.write_bytes(connector(language("llama"), "0" * 64))
    other = tiny_language.write("llama", tmp_path / "other", seed=1)
    for wrong in (other, folder("gemma3")):
        with pytest.raises(CheckpointError, match=r"trained for the language model .*, not for"):
            open_question_model(wrong, connector=path)
    assert open_question_model(f"hf:{folder('llama')}", connector=path).fusions == ("embedding",)


def test_without_a_connector_a_language_model_is_refused_with_what_to_do(folder):
    with pytest.raises(ConfigError, match="it needs a connector"):
        open_question_model(folder("llama"))


def test_what_is_no_causal_language_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no causal language model, but 'clip'"):
        open_language_model(tiny_hf.write("clip", tmp_path / "clip"))


def test_the_digest_is_the_same_in_every_arithmetic(folder, language):
    half = open_language_model(folder("llama"), dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16
    assert half.digest == language("llama").digest != language("gemma3").digest


def test_a_connector_is_kept_whole_and_damage_is_refused(language, tmp_path):
    path = tmp_path / "connector.safetensors"
    data = connector(language("llama"), "0" * 64)
    assert data == connector(language("llama"), "0" * 64)
    path.write_bytes(data)
    loaded, info = load_connector(path)
    assert encode_connector(loaded, info) == data
    loaded.linear.weight.data.fill_(float("nan"))
    path.write_bytes(encode_connector(loaded, info))
    with pytest.raises(CheckpointError, match="NaN"):
        load_connector(path)
    path.write_bytes(encode_connector(loaded, info.model_copy(update={"width": 21})))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_connector(path)
    path.write_bytes(data[:200])
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_connector(path)


def test_an_untrained_connector_is_its_regression_alone():
    made = Connector(4, 6, 3)
    embeddings = torch.randn(5, 4)
    torch.testing.assert_close(made(embeddings), made.linear(embeddings))
    assert [name for name, p in made.named_parameters() if not p.requires_grad] == [
        "linear.weight", "linear.bias"
    ]  # fmt: skip
