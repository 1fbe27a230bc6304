"""Text: files of one string."""

from tests.contracts.examples import Example, Rng
from tests.contracts.malformed import file_of_bytes, no_file
from vitlens_core.modalities.text import MODALITY


def _sentence(rng: Rng) -> str:
    return " ".join(rng.choice(["a", "red", "chair", "lamp", "small"], size=4))


EXAMPLE = Example(
    raw=_sentence,
    refused=("", " \n", "\ud800"),
    malformed=(
        ("nothing", None, "found NoneType"),
        ("a number", 3, "found int"),
        ("bytes", b"a chair", "found bytes"),
        ("a list", ["a chair"], "found list"),
        ("empty", "", "something to read"),
        ("blank", " \t\n", "something to read"),
        ("control characters", "\x00\x01", "something to read"),
        ("half a surrogate pair", "chair \ud83e", "valid Unicode"),
        ("not UTF-8", file_of_bytes("a.txt", "Stühle".encode("utf-16")), "UTF-8 text"),
        ("absent", no_file("a.txt"), "found nothing"),
    ),
)


def test_a_file_is_read_without_the_blanks_around_it(tmp_path):
    (tmp_path / "a.txt").write_text(" zwei Stühle\n", encoding="utf-8")
    assert MODALITY.read(tmp_path / "a.txt") == "zwei Stühle"
