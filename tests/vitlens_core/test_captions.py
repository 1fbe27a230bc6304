from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitlens_core.captions import (
    GENERAL_TEMPLATES,
    POINT_CLOUD_TEMPLATES,
    class_prompts,
    clean_phrase,
    object_captions,
    with_article,
)
from vitlens_core.errors import ConfigError


@dataclass(frozen=True)
class Thing:
    name: str = ""
    tags: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    label: str | None = None
    captions: tuple[str, ...] = ()


things = st.builds(
    Thing,
    name=st.text(max_size=60),
    tags=st.lists(st.text(max_size=20), max_size=8).map(tuple),
    categories=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    label=st.sampled_from([None, "street_lamp", "armchair"]),
)


@given(things, st.booleans())
def test_captions_are_plain_distinct_and_never_absent(thing, use_label):
    captions = object_captions(thing, use_label=use_label)
    assert captions
    assert len(set(captions)) == len(captions)
    for caption in captions:
        assert caption.isascii()
        assert caption.strip() == caption
        assert "_" not in caption
        assert "  " not in caption
    assert captions == object_captions(thing, use_label=use_label)


@given(things)
def test_without_leave_the_class_never_shows(thing):
    unlabelled = Thing(thing.name, thing.tags, thing.categories, None)
    assert object_captions(thing, use_label=False) == object_captions(unlabelled, use_label=True)


def test_captions_go_from_the_name_to_the_class():
    thing = Thing("Old_OakDesk", ("Table", "Table", "wood"), ("Office",), "desk")
    assert object_captions(thing, use_label=True) == (
        "an old oak desk",
        "a 3D model of an old oak desk",
        "a rendering of an old oak desk",
        "a 3D model of an old oak desk, tagged table and wood",
        "a 3D object described as table and wood",
        "a 3D object of the category office",
        "a desk",
        "a 3D model of a desk",
    )


def test_an_object_nothing_is_known_of_still_has_a_caption():
    assert object_captions(Thing("Untitled", ("blender",)), use_label=True) == ("a 3D object",)


@pytest.mark.parametrize(
    "name",
    [
        "Untitled",
        "model 12",
        "3DModel",
        "IMG_2021_0304.glb",
        "a3f9c2d1e8",
        "d41d8cd98f00b204e9800998ecf8427e",
        "test_v2_final",
        "scan 0012",
        "https://example.org/x",
        "стул",
        "☕",
        "x",
        "",
    ],
)
def test_meaningless_names_are_dropped(name):
    assert clean_phrase(name) == ""


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("sofa.obj", "sofa"),
        ("WOODEN CHAIR", "wooden chair"),
        ("Low-poly Chair v2", "low-poly chair"),
        ("kitchen_chair_03", "kitchen chair"),
        ("LED lamp", "LED lamp"),
        ("Café&nbsp;table &amp; chairs", "cafe table and chairs"),
        ("Desk (made in https://example.org)", "desk made in"),
        ("Double window 3 panes", "double window 3 panes"),
    ],
)
def test_names_become_phrases(name, phrase):
    assert clean_phrase(name) == phrase


@pytest.mark.parametrize(
    "phrase",
    [
        "an armchair",
        "an hourglass",
        "an urn",
        "an LED lamp",
        "an X-ray",
        "an 8-ball",
        "a chair",
        "a unicycle",
        "a ukulele",
        "a European car",
        "a glass",
        "a lens",
        "a TV",
        "a T-shirt",
        "a one-wheeled cart",
        "a 3D printer",
    ],
)
def test_articles_follow_the_sound(phrase):
    assert with_article(phrase.partition(" ")[2]) == phrase
    assert with_article(phrase) == phrase


@pytest.mark.parametrize("phrase", ["scissors", "people", "vertical shelves", "the Eiffel tower"])
def test_plurals_and_definite_names_take_no_article(phrase):
    assert with_article(phrase) == phrase


def test_there_are_64_distinct_point_cloud_prompts():
    prompts = class_prompts("street_lamp")
    assert len(set(prompts)) == len(POINT_CLOUD_TEMPLATES) == 64
    assert prompts[0] == "a point cloud of a street lamp."
    assert all("_" not in prompt and "a street lamp" in prompt for prompt in prompts)


def test_general_prompts_speak_of_the_class():
    assert class_prompts("armchair", GENERAL_TEMPLATES)[1] == "a photo of an armchair."
    assert class_prompts("bow_(weapon)", ["{}"]) == ["a bow (weapon)"]


@pytest.mark.parametrize("templates", [[], ["a photo"], ["{} and {}"]])
def test_faulty_templates_are_refused(templates):
    with pytest.raises(ConfigError, match=r"one \{\} each"):
        class_prompts("chair", templates)


@pytest.mark.parametrize("label", ["", "_", " "])
def test_a_nameless_class_is_refused(label):
    with pytest.raises(ConfigError, match="needs a name"):
        class_prompts(label)


def test_captions_of_others_come_first_and_stay_as_they_were_written():
    thing = Thing("an oak table", captions=("Four legs, one top.", "TABLE #3"), label="table")
    assert object_captions(thing, use_label=False)[:3] == (
        "Four legs, one top.",
        "TABLE #3",
        "an oak table",
    )
