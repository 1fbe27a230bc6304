"""The record of a sample: written and read, and what steps leave out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from upath import UPath

from pipelines.shards.sample import SampleInfo
from pipelines.store.shards import read_shard, write_shard
from pipelines.store.splits import SPLITS

texts = st.text(max_size=12)
infos = st.builds(
    SampleInfo,
    name=texts,
    label=st.none() | texts,
    group=texts,
    split=st.sampled_from(SPLITS),
    licence=st.none() | texts,
    creator=st.none() | texts,
    captions=st.lists(texts, max_size=3).map(tuple),
)


@given(info=infos)
def test_a_record_comes_back_as_it_was(info: SampleInfo) -> None:
    assert SampleInfo.of({"json": info.encode()}) == info


@given(info=infos)
def test_what_a_step_leaves_out_has_its_default_and_the_rest_stays(info: SampleInfo) -> None:
    kept = SampleInfo.of({"json": info.encode(without={"licence", "creator"})})
    assert kept == info.model_copy(update={"licence": None, "creator": None})
    stated = json.loads(info.encode(without={"captions"}))
    assert set(stated) == {"name", "label", "group", "split", "licence", "creator"}


def test_the_bytes_are_sorted_json() -> None:
    info = SampleInfo(name="Stühle", label=None, group="g", split="val", captions=("a", "b"))
    assert info.encode() == (
        '{"captions": ["a", "b"], "creator": null, "group": "g", "label": null, "licence": null, '
        '"name": "Stühle", "split": "val"}'.encode()
    )


def test_a_record_longer_than_a_page_is_read_from_its_shard(tmp_path: Path) -> None:
    captions = tuple(f"a caption of some length, the {n}th of many" for n in range(200))
    info = SampleInfo(name="x", label="y", group="x", split="train", captions=captions)
    path = UPath(tmp_path / "train-00000.tar")
    write_shard(path, [{"__key__": "x", "json": info.encode()}])
    [sample] = read_shard(path)
    assert SampleInfo.of(sample) == info


@pytest.mark.parametrize("stated", [{}, {"name": "x", "label": "y", "group": "z", "split": "both"}])
def test_a_record_that_says_too_little_or_nonsense_is_refused(stated: dict) -> None:
    with pytest.raises(ValidationError):
        SampleInfo.of({"json": json.dumps(stated).encode()})
