"""The text paired with an object: captions to train on, prompts to classify with.

Reads     an object's annotations (captions, name, tags, categories, class), or a class name.
Promises  captions as they were written, then plain English phrases in a fixed order, without
          duplicates; no phrase holds a name that says nothing ("Untitled", "model 12", file names,
          hashes).

Templates hold one `{}` for the noun with its article ("an armchair", "scissors").
The 64 point-cloud templates follow the prompt ensembling of CLIP (arXiv 2103.00020, 3.1.4) and
its use for 3D by ULIP (arXiv 2212.05171).
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Protocol

from vitlens_core.errors import ConfigError

GENERAL_TEMPLATES = (
    "{}",
    "a photo of {}.",
    "a picture of {}.",
    "a rendering of {}.",
    "a 3D model of {}.",
    "a close view of {}.",
    "this is {}.",
    "there is {} here.",
)
_MEDIA = (
    "point cloud",
    "3D point cloud",
    "point cloud model",
    "point set",
    "3D scan",
    "3D model",
    "3D shape",
    "object scan",
)
_QUALITIES = ("", "coloured ", "sparse ", "dense ", "clean ", "noisy ", "small ", "detailed ")
POINT_CLOUD_TEMPLATES = tuple(
    f"{'an' if not quality and medium[0] in 'aeiou' else 'a'} {quality}{medium} of {{}}."
    for quality in _QUALITIES
    for medium in _MEDIA
)

_NAME_TEMPLATES = ("{}", "a 3D model of {}", "a rendering of {}")
_LABEL_TEMPLATES = ("{}", "a 3D model of {}")
_FALLBACK = "a 3D object"
_MAX_WORDS = 12
_MAX_TAGS = 5

_FILE_NAME_END = re.compile(
    r"\.(?:glb|gltf|obj|fbx|blend|stl|dae|ply|3ds|max|usdz?|ma|mb|skp|c4d|zip|rar|png|jpe?g)$", re.I
)
_URL = re.compile(r"\b(?:https?://|www\.)\S+|\S+@\S+", re.I)
_ODD = re.compile(r"[^A-Za-z0-9 '.,/-]+")
# Between the words of "ArmChair" and after the 3D of "3DModel".
_RUN_TOGETHER = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=3[dD])(?=[A-Za-z])")
_VERSION = re.compile(r"v\d[\d.]*|ver|version|rev\d*|copy|final|wip", re.I)
# 8 or more hexadecimal digits, or characters where three digits precede a letter: "x7k2m9qa".
_HASH_LIKE = re.compile(r"(?=.*\d)[0-9a-f]{8,}|(?=(?:.*?\d[a-z]){3})[0-9a-z]{8,}", re.I)
_WORD = re.compile(r"[A-Za-z]{2,}")
# Words that name the file, the tool or the upload instead of the object.
_EMPTY_WORDS_TEXT = (
    "the my new old test untitled unnamed noname none null default asdf qwerty object objects "
    "model models mesh scene asset assets file export exported scan capture project work result "
    "output sketchfab blender maya zbrush unity unreal substance painter lowpoly low high poly "
    "highpoly gameready game ready gameasset pbr textured texture rigged animated animation free "
    "download photogrammetry render glb gltf obj fbx blend stl img image dsc part group node "
    "geometry no name of for in and with material misc miscellaneous other unknown"
)
_EMPTY_WORDS = frozenset(_EMPTY_WORDS_TEXT.split())

# "an 8", "an 11", "an hour", "an x-ray"; but "a unicorn", "a user", "a euro", "a one-way street".
_SOUNDS_LIKE_A_VOWEL = re.compile(
    r"8|1[18](?!\d)|hour|honest|heir|honou?r|[fhlmnrsx]-"
    r"|(?!uni(?!n|m)|us[aeiu]|ut[ei]|urin|ukulele|e[uw]|one\b|once\b)[aeiou]",
    re.I,
)
# An acronym is spelt out: "an SUV", "a USB stick".
_LETTERS_SAID_WITH_A_VOWEL = "AEFHILMNORSX"
_IRREGULAR_PLURALS = frozenset(
    {"people", "men", "women", "children", "feet", "teeth", "mice", "geese", "dice"}
)
_SINGULAR_ON_S = frozenset({"gas", "lens", "canvas", "atlas", "christmas", "series", "species"})


class Described(Protocol):
    """The annotations captions are made from; those that are absent are empty or None."""

    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def categories(self) -> Sequence[str]: ...
    @property
    def captions(self) -> Sequence[str]: ...
    @property
    def label(self) -> str | None: ...


def object_captions(described: Described, *, use_label: bool) -> tuple[str, ...]:
    """Write captions of one object, from the most to the least specific; at least one.

    Args:
        described: the object's annotations.
        use_label: use the class as well. Only for training objects: for a held-out object it
            would put the answer into the evaluation.
    """
    name = clean_phrase(described.name)
    tags = _cleaned(described.tags)[:_MAX_TAGS]
    categories = _cleaned(described.categories)
    captions = list(described.captions)  # as they were written
    if name:
        noun = with_article(name)
        captions += [template.format(noun) for template in _NAME_TEMPLATES]
        if tags:
            captions.append(f"a 3D model of {noun}, tagged {_joined(tags)}")
    if tags:
        captions.append(f"a 3D object described as {_joined(tags)}")
    captions += [f"a 3D object of the category {category}" for category in categories]
    if use_label and described.label:
        noun = with_article(label_phrase(described.label))
        captions += [template.format(noun) for template in _LABEL_TEMPLATES]
    return tuple(dict.fromkeys(captions or [_FALLBACK]))


def class_prompts(label: str, templates: Sequence[str] = POINT_CLOUD_TEMPLATES) -> list[str]:
    """Write one prompt per template for the class `label`; their mean embedding classifies.

    Raises:
        ConfigError: there is no template, or a template has not exactly one `{}`.
    """
    faulty = [template for template in templates if template.count("{}") != 1]
    if faulty or not templates:
        raise ConfigError(
            f"class prompts need templates with one {{}} each, such as {GENERAL_TEMPLATES[1]!r}; "
            f"found {faulty[:3] or 'none'}"
        )
    noun = with_article(label_phrase(label))
    return [template.replace("{}", noun) for template in templates]


def clean_phrase(text: str) -> str:
    """Turn `text` into a plain phrase of at most 12 words, or "" if it names no object."""
    text = _FILE_NAME_END.sub("", html.unescape(text).strip()).replace("&", " and ")
    # é becomes e: the filter of characters below would split the word there.
    text = unicodedata.normalize("NFKD", _URL.sub(" ", text))
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = _RUN_TOGETHER.sub(" ", _ODD.sub(" ", text))
    words = [word for part in text.split() if (word := part.strip("'.,/-"))]
    words = [word for word in words if not (_VERSION.fullmatch(word) or _HASH_LIKE.fullmatch(word))]
    while words and words[-1].isdecimal():  # a serial number: "chair 12"
        words.pop()
    if not any(_says_something(word) for word in words):
        return ""
    # In a name all in capitals, short words are words ("OLD CAR") and not acronyms.
    shouted = text.isupper()
    return " ".join(
        word if _is_acronym(word) and not shouted else word.lower() for word in words[:_MAX_WORDS]
    )


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a non-empty phrase, unless it is plural or has an article already."""
    # The noun comes last, before what stands in brackets: "scissors (old)" is plural.
    first, last = phrase.split()[0], phrase.partition(" (")[0].split()[-1]
    if first.lower() in {"a", "an", "the", "my"} or _is_plural(last):
        return phrase
    if _is_acronym(first):
        an = first[0] in _LETTERS_SAID_WITH_A_VOWEL
    else:
        an = _SOUNDS_LIKE_A_VOWEL.match(first) is not None
    return f"{'an' if an else 'a'} {phrase}"


def _cleaned(texts: Sequence[str]) -> list[str]:
    """Return the phrases of `texts` that say something, each once."""
    return list(dict.fromkeys(phrase for text in texts if (phrase := clean_phrase(text))))


def _says_something(word: str) -> bool:
    return any(part.lower() not in _EMPTY_WORDS for part in _WORD.findall(word))


def _is_acronym(word: str) -> bool:
    return word.isupper() and word.isalpha() and 2 <= len(word) <= 4


def _is_plural(word: str) -> bool:
    # In capitals, the S at the end belongs to an acronym: "GPS".
    word = word if word.isupper() else word.lower()
    regular = word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word in _IRREGULAR_PLURALS or (regular and word not in _SINGULAR_ON_S)


def label_phrase(label: str) -> str:
    phrase = " ".join(label.replace("_", " ").split())
    if not phrase:
        raise ConfigError(f"a class needs a name to make text from; found {label!r}")
    return phrase


def _joined(phrases: Sequence[str]) -> str:
    """Join phrases to an English enumeration: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))
