"""scaffold: writes the three files of a new modality from templates.

Reads     `workflows/templates/new_modality/`.
Writes    into the source checkout in use
            vitlens_core/modalities/<name>.py             the science
            workflows/modalities/<name>/defs.yaml         the workflow
            tests/vitlens_core/modalities/test_<name>.py  the test, and the example for contracts
Promises  all three files are written or none; no existing file is changed; the new files pass
          lint, types, contracts and a run of the tiny profile unchanged.
"""

from __future__ import annotations

import json
import keyword
import re
from contextlib import ExitStack
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from vitlens_core import modalities
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.base import LensedModality

TEMPLATES = Path(__file__).parent / "templates" / "new_modality"
FILES = {
    "modality.py.jinja": "vitlens_core/modalities/{name}.py",
    "defs.yaml.jinja": "workflows/modalities/{name}/defs.yaml",
    "test_modality.py.jinja": "tests/vitlens_core/modalities/test_{name}.py",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST_NAME = 32  # every line of the templates then stays within the line length


def checkout(root: Path = Path(__file__).parents[1]) -> Path:
    """`root` if it is a source checkout; by default that this code runs from.

    Raises:
        ConfigError: it is not, as where vitlens is installed as a package.
    """
    folders = [root / path.format(name="").rpartition("/")[0] for path in FILES.values()]
    if not (root / "pyproject.toml").is_file() or not all(f.parent.is_dir() for f in folders):
        raise ConfigError(
            f"{root} is no source checkout to add to; clone the repository, install it with "
            "`pip install -e .` and run it from there, or name the checkout with --into"
        )
    return root


def create(root: Path, name: str, description: str | None = None) -> list[Path]:
    """Write a new modality's files into a checkout and return their paths, relative to it.

    Args:
        description: one line for the UI.

    Raises:
        ConfigError: a name that is taken or is no valid module name, a description that is not
            one line, or a checkout that cannot be written to; no file is left behind.
    """
    check_name(name)
    texts = rendered(name, description)
    if existing := [path for path in texts if (root / path).exists()]:
        raise ConfigError(f"{' and '.join(existing)} exist already; choose another name")
    with ExitStack() as undo:
        for path, text in texts.items():
            try:
                _write(root / path, text, undo)
            except OSError as error:
                raise ConfigError(f"nothing was added: cannot write {path}: {error}") from error
        undo.pop_all()
    return list(map(Path, texts))


def check_name(name: str) -> None:
    """Raise ConfigError unless a new modality may have this name."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"a modality is named like its module: expected lower_snake_case of at most "
            f"{_LONGEST_NAME} characters, such as sonar or hyper_spectral; found {name!r}"
        )
    if name in {*keyword.kwlist, *keyword.softkwlist}:
        raise ConfigError(f"{name!r} is a keyword of Python; choose another name")
    if name in modalities.names():
        raise ConfigError(f"there is a modality {name!r} already; choose another name")
    if hasattr(modalities, name):
        raise ConfigError(f"{name!r} would hide vitlens_core.modalities.{name}; choose another")
    for other in map(modalities.load, modalities.names()):
        stored = other.signal_file if isinstance(other, LensedModality) else None
        if name == other.metric_prefix or f"{name}.npy" == stored:
            raise ConfigError(
                f"{name!r} already names {other.name} in metrics or shards; choose another name"
            )


def rendered(name: str, description: str | None = None) -> dict[str, str]:
    """Return path in the checkout → content (`ConfigError`: the description is not one line)."""
    words = name.replace("_", " ")
    if description is None:
        description = f"Recordings of {words} beside pictures and words."
    if not description.strip() or not description.isprintable():
        raise ConfigError(f"--description: expected one line of text, found {description!r}")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    facts = {
        "name": name,
        "class_name": words.title().replace(" ", ""),
        "words": words,
        "title": words.capitalize(),
        "quoted_description": json.dumps(description, ensure_ascii=False),
    }
    return {
        path.format(name=name): environment.get_template(template).render(facts)
        for template, path in FILES.items()
    }


def _write(path: Path, text: str, undo: ExitStack) -> None:
    """Write a new file, and its folder if needed; `undo` removes them again."""
    if not path.parent.exists():
        path.parent.mkdir()
        undo.callback(path.parent.rmdir)
    with path.open("x", encoding="utf-8") as file:
        undo.callback(path.unlink)
        file.write(text)
