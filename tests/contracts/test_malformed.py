"""Malformed files and arrays are refused with what was found and what was expected."""

from pathlib import Path
from typing import Any

import pytest

from tests.contracts.examples import example, stated_in
from tests.contracts.malformed import File
from vitlens_core import modalities
from vitlens_core.errors import InputError
from vitlens_core.modalities.base import FoundationModality, LensedModality

CASES = [
    pytest.param(name, given, words, id=f"{name}: {what}")
    for name in modalities.names()
    for what, given, words in example(name).malformed
]


def _accept(name: str, given: Any, folder: Path) -> None:
    """Read a file, then check the raw array, as `encode` does."""
    modality = modalities.load(name)
    if isinstance(given, File):
        path = folder / given.name
        given.write(path)
        given = modality.read(path, **given.options)
    if isinstance(modality, LensedModality):
        modality.Signal().store(given)
    else:
        assert isinstance(modality, FoundationModality)
        modality.store(given, 32)


@pytest.mark.parametrize(("name", "given", "words"), CASES)
def test_malformed_inputs_are_refused_in_plain_words(
    name: str, given: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        _accept(name, given, tmp_path)


@pytest.mark.parametrize("name", modalities.names())
def test_every_modality_has_ten(name: str) -> None:
    stated = {what for what, _, _ in example(name).malformed}
    assert len(stated) >= 10, f"state ten in the EXAMPLE of {stated_in(name)}"
