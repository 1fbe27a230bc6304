"""files: opens the bytes of a file as a path, and imports the libraries of the readers."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.readers.formats import HEAD_BYTES, is_read, of_content
from vitlens_core.scratch import Scratch


@contextmanager
def as_file(data: bytes) -> Generator[Path]:
    """Write the bytes of a file to a temporary file, for readers that take paths.

    Raises:
        InputError: the bytes do not tell what file they are, as those of a table do not.
    """
    with Scratch("input") as folder:
        path = Path(folder, f"input{ending_of(data)}")
        path.write_bytes(data)
        yield path


def ending_of(data: bytes) -> str:
    """Return the usual ending of a file with such bytes.

    Raises:
        InputError: the bytes do not tell what file they are.
    """
    content = of_content(data[:HEAD_BYTES], len(data))
    if content is None or not is_read(content):
        found = content.name if content else f"bytes that begin with {data[:12]!r}"
        raise InputError(
            f"expected the bytes of a file whose format they tell, found {found} "
            f"({len(data)} bytes). Of a table or a text, give the path"
        )
    return content.endings[0]


def optional(package: str, extra: str = "files") -> ModuleType:
    """Import a library of an extra. Raises ConfigError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this needs {package}, which is not installed: pip install 'vitlens[{extra}]'"
        ) from error


def unreadable(path: Path, what: str, error: Exception | str) -> InputError:
    """Make the error for a file that its reader refuses, with the reader's own reason.

    Args:
        what: what the file was read as, such as "a PNG picture".
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, KeyError):  # its text is the key alone
        reason = f"{reason} is missing"
    return InputError(f"{path} cannot be read as {what}: {reason}")
