"""Malformed files and arrays are refused with what was found and what was expected."""

from pathlib import Path
from typing import Any

import pytest

from tests.vitlens_core.modalities.malformed import MALFORMED, File
from vitlens_core import modalities
from vitlens_core.errors import InputError

CASES = [
    pytest.param(name, given, words, id=f"{name}: {what}")
    for name, cases in MALFORMED.items()
    for what, given, words in cases
]


def _accept(name: str, given: Any, folder: Path) -> None:
    """Read a file, then check the raw array, as `encode` does."""
    module = modalities.load(name)
    if isinstance(given, File):
        path = folder / given.name
        given.write(path)
        given = module.read(path, **given.options)
    if module.ENCODER == "lens":
        module.Tokenizer().store(given)
    elif name == "text":
        module.store(given)
    else:
        module.store(given, 32)


@pytest.mark.parametrize(("name", "given", "words"), CASES)
def test_malformed_inputs_are_refused_in_plain_words(
    name: str, given: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        _accept(name, given, tmp_path)


def test_every_modality_has_ten() -> None:
    assert {name: len(cases) for name, cases in MALFORMED.items()} == dict.fromkeys(
        modalities.names(), 10
    )
