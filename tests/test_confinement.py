"""No name from outside leaves its folder, and no new code joins such a name by itself."""

from __future__ import annotations

import ast
import gzip
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.source.datasets.webdataset_tars import WebdatasetTars
from vitlens_core import caps
from vitlens_core.confinement import plain_name, resolve_inside
from vitlens_core.errors import ConfigError, InputError

ROOT = Path(__file__).parents[1]
# Where names of tables, archives, indexes, mirrors and requests arrive.
LOOKED_AT = (
    "pipelines/source",
    "pipelines/benchmarks",
    "pipelines/objects",
    "pipelines/index",
    "pipelines/service",
    "vitlens_core/readers",
    "vitlens_core/api",
    "workflows",
)
# Writes its own files under names of its own.
LEFT_OUT = ("pipelines/source/made_up",)
_FOLDERS = re.compile(
    r"folder|root|path|dir|home|scratch|place|packages|mirrors|parent|inbox", re.I
)
# Joins whose names are our own, checked before, or listed from the folder itself: file → source.
ALLOWED = {
    # A literal of the settings: the kind of data set, the split, a modality, a step's own files.
    "pipelines/source/base.py": {"self._home.generated / self.kind", "scratch / self.kind"},
    "pipelines/source/job.py": {"build.folder / f'{name}.jsonl'"},
    "pipelines/source/datasets/audiocaps.py": {"self.folder() / f'{split}.csv'"},
    "pipelines/source/datasets/clotho.py": {
        "folder / f'clotho_captions_{part}.csv'",
        "folder / f'clotho_metadata_{part}.csv'",
    },
    "pipelines/source/datasets/hapt.py": {
        "folder / side",
        "folder / side / f'subject_id_{side.lower()}.txt'",
    },
    "pipelines/source/datasets/imagenet_eeg.py": {
        "folder / f\"block_splits_by_image_{('single' if self.subject else 'all')}.pth\"",
        "folder / self._signals",
    },
    "pipelines/source/datasets/llvip.py": {
        "folder / light",
        "folder / light / side",
        "folder / 'Annotations' / f'{name}.xml'",  # a name listed from the folder
    },
    "pipelines/source/datasets/touch_and_go.py": {"folder / LISTS[side]"},
    # In messages only.
    "pipelines/source/datasets/sun_rgbd.py": {"folder / DATA / scene"},
    # Pinned packages.
    "pipelines/source/datasets/seglearn_watch.py": {
        "self._home.packages / WHEEL.removesuffix('-py3-none-any.whl')"
    },
    "pipelines/source/datasets/tuxpaint_stamps.py": {
        "packages / f'{package.name}-{package.version}'",
        "packages / package.file",
        "scratch / package.file",
    },
    # Names of shards, which a step makes, and a digest.
    "pipelines/objects/job.py": {"folder / f'{name}{PLAN}'"},
    # The lists by which data sets are known.
    "pipelines/objects/opening.py": {"root / mark"},
    # The four sources of Objaverse-XL.
    "pipelines/objects/objaverse_xl.py": {"root / source", "root / source / f'{source}.parquet'"},
    "pipelines/objects/mirror.py": {"(cache_dir or Home.from_environment().mirrors) / place"},
    # Names of shards and of parts.
    "pipelines/index/making.py": {"build.folder / name", "folder / part.items_file"},
    "pipelines/index/graphs.py": {
        "Path(folder, path.name)",
        "folder / part.record_file",
        "self._folder / graph_file(kind, number)",
        "self._folder / self._part.items_file",
        "self._folder / tar",
    },
    # A number, and an ending of letters and digits.
    "pipelines/service/uploads.py": {
        "folder / f\"{number}{(ending if _ENDING.fullmatch(ending) else '')}\""
    },
    "vitlens_core/readers/files.py": {"Path(folder, f'input{ending_of(data)}')"},
    "vitlens_core/api/lenses.py": {"folder / file"},
    "vitlens_core/api/untrusted.py": {"sandbox.inbox / name"},
    # Resolved and compared with the folder at once.
    "vitlens_core/readers/meshes.py": {"self._place / wanted"},
    "vitlens_core/readers/ply.py": {"path.parent / named[0].strip()"},
    # Steps, modalities, commands and parts of `vitlens ui`, by names of our own code.
    "workflows/artifact_io.py": {"store.root / step", "store.root / step / name"},
    "workflows/cli.py": {"Path(workflows.commands.__path__[0], f'{_modules()[name]}.py')"},
    "workflows/commands/ui.py": {"folder / name", "home.logs() / f'ui-{name}.log'"},
    "workflows/spec.py": {"FOLDER / modality"},
    # Logs: a modality and an axis that were looked up before, and the time.
    "workflows/commands/backfill.py": {
        "workplace.home.logs() / f\"{modality}-pieces-{time.strftime('%Y%m%d-%H%M%S')}.log\""
    },
    "workflows/commands/run.py": {
        "workplace.home.logs() / f\"{modality}-{time.strftime('%Y%m%d-%H%M%S')}.log\""
    },
    "workflows/commands/sweep.py": {
        "workplace.home.logs() / f\"{modality}-{axis}-{time.strftime('%Y%m%d-%H%M%S')}.log\""
    },
    # A name of a database that `database_name` made sure is plain, and a number.
    "workflows/backups/making.py": {"folder / f'{name}.dump'", "folder / f'{number}.sqlite'"},
    # Two literals, and names listed from the folder, which are read through `resolve_inside`.
    "workflows/backups/places.py": {"root / 'dagster' / part", "self.home.root / name"},
    # Random names.
    "workflows/doctor/services.py": {"root / f'.doctor-{uuid.uuid4().hex[:8]}'"},
    "workflows/places.py": {"place / f'.writable-{uuid.uuid4().hex[:8]}'"},
    # The address of weights, as open_clip states it.
    "workflows/planning/cached.py": {"Path('~/.cache/clip', url.rpartition('/')[2])"},
    # The files of a new modality, whose name was checked.
    "workflows/scaffold.py": {
        "root / path",
        "root / path.format(name='').rpartition('/')[0]",
    },
}


def _joins(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that join a folder and a name that is no constant."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                if _FOLDERS.search(ast.unparse(left)) and not _is_constant(right):
                    yield node
            case ast.Call(func=ast.Name(id="Path" | "UPath"), args=[_, *names]):
                if not all(map(_is_constant, names)):
                    yield node
            case ast.Call(func=ast.Attribute(attr="joinpath" | "join"), args=[*names]):
                is_path = "path" in ast.unparse(node.func)
                if is_path and not all(map(_is_constant, names)):
                    yield node


def _is_constant(node: ast.expr) -> bool:
    """Whether a name is written in the code: a text, or a constant by its capitals."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.isupper()
        case ast.JoinedStr(values=values):
            return all(
                _is_constant(v.value if isinstance(v, ast.FormattedValue) else v) for v in values
            )
    return False


def _found() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for part in LOOKED_AT:
        for path in sorted((ROOT / part).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(LEFT_OUT):
                joins = {ast.unparse(node) for node in _joins(ast.parse(path.read_text()))}
                if joins:
                    found[name] = joins
    return found


def test_names_are_joined_to_folders_by_the_helper_only() -> None:
    """Use `resolve_inside` for a name from outside; list a join here if its name is ours."""
    assert _found() == ALLOWED


def test_a_new_join_would_be_found() -> None:
    code = """
def read(self, pair, root):
    open(root / pair.signal); (root / "a" / name).read_text(); Path(root, name); os.path.join(a, n)
    root.joinpath(name); root / f"{name}.txt"; count / total; root / LIST; root / "own"
"""
    found = {ast.unparse(node) for node in _joins(ast.parse(code))}
    assert found == {
        "root / pair.signal",
        "root / 'a' / name",
        "Path(root, name)",
        "os.path.join(a, n)",
        "root / f'{name}.txt'",
    } | ({"root.joinpath(name)"} & found)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "/etc/passwd",
        "//etc/passwd",
        "a\0b",
        "x" * 2000,
        "out/secret",
        "out",
        "deep/out/secret",
        "self/../../x",
    ],
)
def test_a_name_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("secret")
    os.symlink(tmp_path / "elsewhere", root / "out")
    os.symlink("../../elsewhere", root / "deep" / "out")
    os.symlink(".", root / "self")
    with pytest.raises(InputError):
        resolve_inside(root, name)


def test_names_inside_are_found_also_through_links(tmp_path: Path) -> None:
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "b.png").write_text("b")
    os.symlink("a", tmp_path / "root" / "link")
    os.symlink(tmp_path / "root", tmp_path / "other")
    for root in (tmp_path / "root", tmp_path / "other"):
        for name in ("a/b.png", "link/b.png", "./a/b.png", "a//b.png"):
            assert resolve_inside(root, name).read_text() == "b"
    assert resolve_inside(tmp_path, "new/x").parent.name == "new"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0", "x" * 300])
def test_a_plain_name_is_one_part(name: str) -> None:
    with pytest.raises(InputError):
        plain_name(name)
    assert plain_name("a.tar") == "a.tar"


def test_gzip_unpacks_up_to_a_ratio_and_a_size(tmp_path: Path) -> None:
    honest = tmp_path / "a.gz"
    content = json.dumps({str(n): [n] for n in range(20_000)}).encode()
    honest.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    with caps.Gunzipped(honest) as file:
        assert file.read() == content
    with pytest.raises(InputError, match="unpacks to"), caps.Gunzipped(honest, 1000) as file:
        file.read()
    bomb = tmp_path / "b.gz"
    with gzip.open(bomb, "wb") as packed:
        for _ in range(200):
            packed.write(bytes(caps.MB))
    with pytest.raises(InputError, match="unpacks to"), caps.Gunzipped(bomb) as file:
        file.read()
    honest.write_bytes(honest.read_bytes()[:-20])
    with pytest.raises(EOFError), caps.Gunzipped(honest) as file:
        file.read()


def test_a_sparse_tar_cannot_claim_a_large_text(tmp_path: Path) -> None:
    os.truncate(os.open(tmp_path / "a.txt", os.O_CREAT | os.O_RDWR), 3 * 2**30)
    (tmp_path / "a.npy").write_bytes(b"x")
    subprocess.run(["tar", "-cS", "-f", "x.tar", "a.npy", "a.txt"], cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmembers()[1].issparse()
    source = WebdatasetTars(root=str(tmp_path), signal="npy", train=("x.tar",))
    with pytest.raises(ConfigError, match="sparse"):
        list(source.pairs())


# JSON of our own making or of our own child: file → source.
OWN_JSON = {
    "pipelines/lens/state_files.py": "checkpoints that a training wrote",
    "pipelines/lens/training.py": "checkpoints that a training wrote",
    "pipelines/lens/making.py": "checkpoints that a training wrote",
    "pipelines/objects/job.py": "plans of the same job",
    "pipelines/source/reading.py": "a copy of a pair",
    "pipelines/report/objects_seen.py": "samples of a shard",
    "pipelines/renders/job.py": "samples of a shard",
    "pipelines/shards/rendered.py": "samples of a shard",
    "pipelines/registry/gates/sanity.py": "a child that runs our own code",
    "pipelines/registry/loggers/json_lines.py": "the log that it writes itself",
    "vitlens_core/checkpoint.py": "a header that safetensors has parsed",
    "vitlens_core/sandbox/wire.py": "it catches the RecursionError itself",
    "vitlens_core/caps.py": "`parse_json` itself",
}


def test_json_of_strangers_is_parsed_by_one_function() -> None:
    """`json.loads` raises RecursionError where lists are nested deep, which nobody expects."""
    folders = ("pipelines", "vitlens_core")
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bjson\.loads?\b", path.read_text())
    }
    assert found == OWN_JSON.keys()


def test_json_nested_without_end_is_a_value_error() -> None:
    assert caps.parse_json('{"a": [1]}') == {"a": [1]}
    for text in ("[" * 200_000, '{"a":' * 200_000, b"[" * 200_000, b"\xff", "{"):
        with pytest.raises(ValueError, match=r".+"):
            caps.parse_json(text)


def test_every_use_of_ijson_bounds_its_numbers() -> None:
    """Without `use_float`, a number of 5,000 digits is a segmentation fault (ijson 3.6)."""
    call = re.compile(r"ijson\.(?:basic_parse|parse|items|kvitems)\([^\n]*")
    uses = [
        use
        for folder in ("pipelines", "vitlens_core", "workflows")
        for path in (ROOT / folder).rglob("*.py")
        for use in call.findall(path.read_text())
    ]
    assert len(uses) >= 3
    assert [use for use in uses if "use_float=True" not in use] == []
