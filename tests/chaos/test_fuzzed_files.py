"""Mutated files of every format and mutated requests: each is read or refused, and the next is too.

`make nightly` runs many of them; `python -m tests.chaos.fuzzing` keeps the numbers in fuzzed.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.service.schemas import EmbedQuestion, SearchQuestion, SimilarityQuestion
from pipelines.source.base import Pair
from tests.chaos.fuzzing import LIMITS, SEEDS, fuzz, mutated, outcome
from vitlens_core.api import untrusted
from vitlens_core.sandbox import Sandbox

QUICK, NIGHTLY = 4, 500
ITEM = {"modality": "text", "text": "a chair", "name": "x", "reader_options": {"rate_hz": 50}}
# JSON that arrives from outside, with a model that checks it.
SCHEMAS: tuple[tuple[type, dict], ...] = (
    (EmbedQuestion, {"inputs": [ITEM]}),
    (SimilarityQuestion, {"a": [ITEM], "b": [ITEM]}),
    (SearchQuestion, {"inputs": [ITEM], "count": 3, "vectors": "image"}),
    (Pair, {"key": "a", "signal": "a.png", "images": ["b.png"], "split": "train"}),
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with untrusted.sandbox(LIMITS) as sandbox:
        yield sandbox


def check(sandbox: Sandbox, tmp_path: Path, modality: str, name: str, count: int) -> None:
    whole = tmp_path / f"whole-{name}"
    whole.write_bytes(SEEDS[modality, name]())
    assert outcome(sandbox, modality, whole) == "read"
    found = fuzz(modality, name, count, sandbox, tmp_path)
    print(modality, name, dict(found))
    assert found.total() == count
    assert found["read"] + found["refused"] > 0
    assert outcome(sandbox, modality, whole) == "read", "the next file is read"


@pytest.mark.parametrize(("modality", "name"), SEEDS)
def test_mutated_files_are_read_or_refused(
    sandbox: Sandbox, tmp_path: Path, modality: str, name: str
) -> None:
    check(sandbox, tmp_path, modality, name, QUICK)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("modality", "name"), SEEDS)
def test_many_mutated_files_are_read_or_refused(
    sandbox: Sandbox, tmp_path: Path, modality: str, name: str
) -> None:
    check(sandbox, tmp_path, modality, name, NIGHTLY)


@pytest.mark.parametrize(("schema", "content"), SCHEMAS)
def test_mutated_json_is_valid_or_refused(schema: type, content: dict) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(schema)
    seed = json.dumps(content).encode()
    adapter.validate_json(seed)
    found: Counter[str] = Counter()
    for data in mutated(seed, 300):
        try:
            adapter.validate_json(data)
        except ValidationError:
            found["refused"] += 1
        else:
            found["valid"] += 1
    assert found["refused"] > 100
