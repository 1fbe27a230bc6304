"""The table of one's own data: what a row states, and every mistake told with its row."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.source.base import Pair
from pipelines.source.datasets.manifest import Manifest, read_with
from pipelines.store.keys import plain_key
from pipelines.store.words import caption
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import depth, imu, tactile

HEADER = "signal,image,text,label,split,key,group,name,licence,creator,reader_options.rate_hz"
FIRST = "imu/walk 1.npy,a.png|b.png,a person walks|two steps,walking,test,w-1,Ann,Walk,CC0,Ann,50"
SECOND = "imu/run.npy,,,running,,r-1,,,,,"


def write(folder: Path, *lines: str) -> Manifest:
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Manifest(root=str(folder))


def _pairs(folder: Path, *lines: str) -> list[Pair]:
    return list(write(folder, *lines).pairs())


def _refusal(folder: Path, *lines: str) -> str:
    with pytest.raises(ConfigError) as refused:
        _pairs(folder, *lines)
    return str(refused.value)


def test_a_row_states_everything_or_little(tmp_path: Path) -> None:
    assert _pairs(tmp_path, HEADER, FIRST, "", SECOND) == [
        Pair(
            key="w-1",
            signal="imu/walk 1.npy",
            reader_options={"rate_hz": 50},
            images=("a.png", "b.png"),
            texts=("a person walks", "two steps"),
            label="walking",
            split="test",
            group="Ann",
            name="Walk",
            licence="CC0",
            creator="Ann",
        ),
        Pair(key="r-1", signal="imu/run.npy", label="running"),
    ]


def test_without_a_column_keys_are_made_of_the_signals(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, "signal,label", "imu/walk 1.npy,walking", "imu/Läufe/2.b.npy,running")
    assert [pair.key for pair in pairs] == ["imu-walk-1", plain_key("imu/Läufe/2.b")]


@pytest.mark.parametrize(("delimiter", "told"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_delimiter_is_refused_by_name(tmp_path: Path, delimiter: str, told: str) -> None:
    with (tmp_path / "manifest.csv").open("w", newline="", encoding="utf-8-sig") as file:
        rows = [["signal", "label", "text"], ["a.npy", "dog", "a dog, asleep"]]
        csv.writer(file, delimiter=delimiter).writerows(rows)
    with pytest.raises(ConfigError, match=rf"manifest\.csv: found columns divided by {told}"):
        list(Manifest(root=str(tmp_path)).pairs())


@pytest.mark.parametrize(
    ("encoding", "told"), [("latin-1", "Latin-1"), ("cp1252", "Latin-1"), ("utf-16", "UTF-16")]
)
def test_another_encoding_is_named_with_its_row(tmp_path: Path, encoding: str, told: str) -> None:
    """Guessed, it could give other letters without a word."""
    text = "signal,label\na.npy,dog\nb.npy,Bär\n"
    (tmp_path / "manifest.csv").write_bytes(text.encode(encoding))
    with pytest.raises(ConfigError, match=r"row \d.*expected UTF-8; save the table") as refused:
        list(Manifest(root=str(tmp_path)).pairs())
    assert told in str(refused.value)
    assert encoding == "utf-16" or "row 3" in str(refused.value)


MISSING = [None, float("nan"), "", " ", "nan", "NaN", "None", "NULL", "N/A", "<NA>"]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
@pytest.mark.parametrize("column", ["label", "text", "image", "group", "name", "split", "licence"])
def test_a_missing_value_is_no_word(tmp_path: Path, column: str, missing: object) -> None:
    """In Parquet as it is, and in CSV as Python and pandas spell it."""
    row = {"signal": "a.npy", "label": "dog", "text": "a dog", column: missing}
    rows = pa.Table.from_pylist([row])
    if rows[column].type in (pa.null(), pa.float64(), pa.string()):
        pq.write_table(rows, tmp_path / "m.parquet")
        (pair,) = Manifest(root=str(tmp_path), table="m.parquet").pairs()
        assert not getattr(pair, {"text": "texts", "image": "images"}.get(column, column))
    spelt = ",".join("" if v is None else str(v) for v in row.values())
    (pair,) = _pairs(tmp_path, ",".join(row), spelt)
    assert not getattr(pair, {"text": "texts", "image": "images"}.get(column, column))


def test_holes_in_a_list_of_captions_are_none(tmp_path: Path) -> None:
    row = {"signal": "a.npy", "text": ["a dog", None, "", "nan"]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "m.parquet")
    (pair,) = Manifest(root=str(tmp_path), table="m.parquet").pairs()
    assert pair.texts == ("a dog",)


def test_classes_of_a_column_with_holes_keep_their_numbers(tmp_path: Path) -> None:
    rows = [
        {"signal": f"{n}.npy", "label": label, "text": "x"} for n, label in enumerate([3, None])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "whole.parquet")
    floats = [{**row, "label": row["label"] and float(row["label"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(floats), tmp_path / "floats.parquet")
    for table in ("whole.parquet", "floats.parquet"):
        pairs = Manifest(root=str(tmp_path), table=table).pairs()
        assert [pair.label for pair in pairs] == ["3", None]
    by_csv = _pairs(tmp_path, "signal,label,text", "0.npy,3.0,x", "1.npy,,x")
    assert [pair.label for pair in by_csv] == ["3", None]


@pytest.mark.parametrize("cell", [["dog", "cat"], {"name": "dog"}], ids=repr)
def test_a_list_where_a_word_is_expected_is_told(tmp_path: Path, cell: object) -> None:
    pq.write_table(pa.Table.from_pylist([{"signal": "a", "label": cell}]), tmp_path / "m.parquet")
    with pytest.raises(ConfigError, match=r"row 2: label: expected a word, found (list|dict)"):
        list(Manifest(root=str(tmp_path), table="m.parquet").pairs())


def test_cells_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    (pair,) = _pairs(tmp_path, "signal,text", 'a.npy,"one, ""two""\nthree | four"')
    assert pair.texts == ('one, "two"\nthree', "four")


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(b"\xef\xbb\xbfsignal,label\r\na.npy,walking\r\n")
    (pair,) = Manifest(root=str(tmp_path)).pairs()
    assert pair == Pair(key="a", signal="a.npy", label="walking")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("50", 50),
        ("0.075", 0.075),
        ("true", True),
        ("sun_rgbd", "sun_rgbd"),
        ("NaN", "NaN"),
        ("null", "null"),
        ('"50"', '"50"'),
        ("007", "007"),
    ],
)
def test_an_option_is_the_number_it_spells_or_its_text(
    tmp_path: Path, cell: str, value: Any
) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    (pair,) = _pairs(tmp_path, "signal,label,reader_options.x", f"a.npy,b,{quoted}")
    assert pair.reader_options == {"x": value}
    assert type(pair.reader_options["x"]) is type(value)


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    expected = _pairs(tmp_path, HEADER, FIRST, SECOND)
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows: list[dict[str, Any]] = [
            {name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)
        ]
    rows[0] |= {"image": ["a.png", "b.png"], "text": ["a person walks", "two steps"]}
    rows[0]["reader_options.rate_hz"] = 50
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
    assert list(Manifest(root=str(tmp_path), table="own.parquet").pairs()) == expected


def test_a_recording_is_read_with_its_options(tmp_path: Path) -> None:
    (tmp_path / "imu").mkdir()
    np.save(tmp_path / "imu" / "walk 1.npy", np.random.default_rng(0).standard_normal((6, 300)))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / name)
    source = write(tmp_path, HEADER, FIRST)
    (pair,) = source.pairs()
    raw = source.read(pair, imu.MODALITY)
    assert raw.shape == (6, 2400)  # 300 samples at 50 Hz are 2,400 at 400 Hz
    assert imu.ImuSignal().store(raw).shape == (6, 2000)
    assert [image.shape for image in source.images(pair)] == [(6, 8, 3), (6, 8, 3)]


def test_options_that_the_reader_lacks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(ConfigError, match=r"rat_hz: Unexpected .* It takes rate_hz: float"):
        read_with(imu.MODALITY, path, {"rat_hz": 50})
    with pytest.raises(ConfigError, match=r"rate_hz: Input should be a valid number"):
        read_with(imu.MODALITY, path, {"rate_hz": "fast"})
    with pytest.raises(ConfigError, match=r"unit: Input should be 'disparity_px', 'm'"):
        read_with(depth.MODALITY, path, {"unit": "feet"})
    with pytest.raises(ConfigError, match="It takes no options"):
        read_with(tactile.MODALITY, path, {"rate_hz": 16_000})
    with pytest.raises(InputError, match="found nothing"):
        read_with(imu.MODALITY, path, {"rate_hz": 50})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "signal,lable",
            r"unknown columns 'lable'; it takes signal, image, .* reader_options\.<name>",
        ),
        ("signal,label,", "unknown columns ''"),
        ("file,label", "no column signal, found file, label"),
        ("signal,label,label", "columns that occur twice: label"),
        ("signal,split", "expected a column image, text, teacher.<name> or label"),
        ("", "no column signal"),
    ],
)
def test_columns_that_are_wrong_are_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _pairs(tmp_path, header, "a.npy,b,c")


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        (",x,,,k,", "row 3: no signal"),
        ("a.npy,,,,k,", "row 3: expected an image, a text, a file for a teacher or a label"),
        ("a.npy,x,,tset,k,", "row 3: split 'tset' is none of train, val, test"),
        ("a.npy,x,,Train,k,", "row 3: split 'Train' is none of"),
        ("a.npy,x,,,k 2,", "row 3: key 'k 2': expected letters, digits, - and _"),
        ("a.npy,x,,,,", "row 3: key '': expected letters"),
        ("a.npy,x,,,good,", "row 3: key 'good' is already that of row 2"),
        ("/data/a.npy,x,,,k,", "row 3: '/data/a.npy': expected a path in the folder of the data"),
        ("a.npy,x,b.png|../c.png,,k,", "row 3: '../c.png': expected a path in the folder"),
        ("a.npy,x,,,k", "row 3: found 5 cells under a header of 6"),
        ("a.npy,x,,,k,,", "row 3: found 7 cells under a header of 6"),
    ],
)
def test_a_row_that_is_wrong_is_told(tmp_path: Path, row: str, mistake: str) -> None:
    told = _refusal(tmp_path, "signal,label,image,split,key,group", "z.npy,y,,,good,", row)
    assert ": 1 mistake (the header is row 1)" in told
    assert mistake in told


def test_signals_named_twice_need_keys(tmp_path: Path) -> None:
    told = _refusal(tmp_path, "signal,label", "a/b.npy,x", "", "a-b.npy,y")
    assert "row 4: key 'a-b' is already that of row 2" in told


def test_all_mistakes_are_told_at_once_up_to_twenty(tmp_path: Path) -> None:
    rows = [f"{number}.npy,x,odd" if number % 2 else f"{number}.npy,x,val" for number in range(50)]
    told = _refusal(tmp_path, "signal,label,split", *rows)
    assert "25 mistakes (the header is row 1)" in told
    assert [line for line in told.splitlines() if "row " in line][1:] == [
        f"  row {row}: split 'odd' is none of train, val, test" for row in range(3, 43, 2)
    ]
    assert told.endswith("and 5 more")
    two = _refusal(tmp_path, "signal,label,split,key", ",,odd,ä")
    assert "4 mistakes" in two


def test_tables_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    source = Manifest(root=str(tmp_path))
    with pytest.raises(ConfigError, match=r"source\.table: no file .*manifest\.csv"):
        source.pairs()
    assert "expected rows under the header" in _refusal(tmp_path, "signal,label")
    assert "cannot be read as a table" in _refusal(tmp_path, "signal,label", 'a.npy,"open')
    (tmp_path / "manifest.csv").write_bytes(b"signal,label\na.npy,caf\xe9\n")
    with pytest.raises(ConfigError, match="row 2: found bytes of another encoding"):
        source.pairs()
    (tmp_path / "own.parquet").write_bytes(b"signal,label\n")
    with pytest.raises(ConfigError, match="cannot be read as a table"):
        Manifest(root=str(tmp_path), table="own.parquet").pairs()
    (tmp_path / "own.xlsx").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"expected \.csv or \.parquet, found own\.xlsx"):
        Manifest(root=str(tmp_path), table="own.xlsx").pairs()


_CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1)


@given(
    names=st.lists(_CELLS, min_size=1, max_size=8, unique=True),
    # "None", "n/a" and their like are missing texts.
    texts=st.lists(
        _CELLS.filter(lambda text: "|" not in text and caption(text) == text),
        min_size=1,
        max_size=3,
    ),
)
def test_any_names_and_texts_come_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["signal", "text", "key"])
        for number, name in enumerate(names):
            table.writerow([f"x/{name.replace('/', '')}y", "|".join(texts), f"key-{number}"])
    pairs = list(Manifest(root=str(folder)).pairs())
    assert [pair.signal for pair in pairs] == [f"x/{name.replace('/', '')}y" for name in names]
    assert {pair.texts for pair in pairs} == {tuple(texts)}
