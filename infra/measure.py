"""The structure of the code in figures: `make measure`, or `python -m infra.measure --help`.

Measures this checkout, another one, or a revision, also of another layout. `FIGURES` says what
each figure counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from infra.sources import (
    Function,
    Module,
    arrows,
    circles,
    is_annotated,
    is_own,
    patches,
    read_modules,
)

ROOT = Path(__file__).resolve().parents[1]
FIGURES = {
    "modules": "modules",
    "lines": "lines, with docstrings, comments and blank ones",
    "file_lines_max": "lines of the longest file",
    "functions": "functions and methods",
    "function_lines_median": "lines of a function, median",
    "function_lines_p90": "lines of a function, 90th percentile",
    "function_lines_max": "lines of the longest function",
    "rooms": "rooms: folders and modules directly in a package",
    "room_arrows": "imports between rooms, distinct pairs",
    "room_circles": "circles of imports between rooms",
    "rooms_in_circles": "rooms in such circles",
    "module_arrows": "imports between modules, distinct pairs",
    "module_circles": "circles of imports between modules",
    "modules_in_circles": "modules in such circles",
    "own_imports_in_functions": "own modules imported inside functions",
    "other_imports_in_functions": "other packages imported inside functions",
    "lines_with_any": "lines with `Any`, imports aside",
    "annotated_percent": "functions with every argument and the result annotated, %",
    "comment_percent": "lines that carry a comment, %",
    "patches_in_tests": "patches of names of the three packages in tests",
}


def measure(root: Path) -> dict[str, Any]:
    """Every figure of `FIGURES`, and under `details` the names behind some of them."""
    modules = read_modules(root)
    between = arrows(modules)
    rooms = {(modules[a].room, modules[b].room) for a, b in between}
    rooms -= {(a, b) for a, b in rooms if a == b}
    patched = patches(root)
    return {
        **_sizes([*modules.values()]),
        **_circles("module", between),
        **_circles("room", rooms),
        **_habits([*modules.values()]),
        "patches_in_tests": len(patched),
        "details": {
            **_longest([*modules.values()]),
            "modules_by_folder": dict(sorted(Counter(m.folder for m in modules.values()).items())),
            "module_circles": circles(between),
            "room_circles": circles(rooms),
            "patches_in_tests": patched,
        },
    }


def _sizes(modules: list[Module]) -> dict[str, float]:
    lengths = sorted(_length(function) for m in modules for function in m.functions)
    return {
        "modules": len(modules),
        "lines": sum(m.lines for m in modules),
        "file_lines_max": max(m.lines for m in modules),
        "functions": len(lengths),
        "function_lines_median": statistics.median_low(lengths),
        "function_lines_p90": lengths[int(0.9 * (len(lengths) - 1))],
        "function_lines_max": lengths[-1],
        "rooms": len({m.room for m in modules}),
    }


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _circles(what: str, between: set[tuple[str, str]]) -> dict[str, int]:
    found = circles(between)
    return {
        f"{what}_arrows": len(between),
        f"{what}_circles": len(found),
        f"{what}s_in_circles": sum(map(len, found)),
    }


def _habits(modules: list[Module]) -> dict[str, float]:
    inside = [is_own(name) for m in modules for name, in_function in m.imports if in_function]
    annotated = [is_annotated(function) for m in modules for function in m.functions]
    commented, lines = sum(m.commented for m in modules), sum(m.lines for m in modules)
    return {
        "own_imports_in_functions": sum(inside),
        "other_imports_in_functions": len(inside) - sum(inside),
        "lines_with_any": sum(m.with_any for m in modules),
        "annotated_percent": round(100 * sum(annotated) / len(annotated), 1),
        "comment_percent": round(100 * commented / lines, 1),
    }


def _longest(modules: list[Module]) -> dict[str, str]:
    file = max(modules, key=lambda m: m.lines)
    functions = [(_length(function), m, function) for m in modules for function in m.functions]
    _, module, function = max(functions, key=lambda found: found[0])
    return {
        "file_lines_max": file.path.as_posix(),
        "function_lines_max": f"{module.path.as_posix()}:{function.lineno} {function.name}",
    }


def measure_revision(root: Path, revision: str) -> dict[str, Any]:
    """The same figures of a revision that git holds in `root`."""
    command = ["git", "-C", str(root), "archive", revision]
    archived = subprocess.run(command, capture_output=True, check=False)
    if archived.returncode:
        raise SystemExit(f"--compare {revision}: {archived.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archived.stdout)) as tar:
            tar.extractall(folder, filter="data")
        return measure(Path(folder))


def as_markdown(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Two tables, a column per measured state: every figure, and the modules of each folder."""
    states = [*columns.values()]
    rows = [[said, *(_cell(state, key) for state in states)] for key, said in FIGURES.items()]
    counts = [state["details"]["modules_by_folder"] for state in states]
    folders = sorted({folder for count in counts for folder in count})
    by_folder = [[f, *(str(count.get(f, "–")) for count in counts)] for f in folders]
    heads = [*columns]
    tables = [_table(["figure", *heads], rows), _table(["modules in", *heads], by_folder)]
    return "\n\n".join(tables)


def _cell(state: Mapping[str, Any], key: str) -> str:
    name = state["details"].get(key)
    return f"{state[key]:,}" + (f" (`{name}`)" if isinstance(name, str) else "")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="The structure of the code in figures.")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to measure")
    parser.add_argument("--compare", metavar="REV", help="a revision of it for a column before")
    parser.add_argument("--json", action="store_true", help="JSON with the names behind figures")
    asked = parser.parse_args()
    columns = {asked.compare: measure_revision(asked.root, asked.compare)} if asked.compare else {}
    columns["now"] = measure(asked.root)
    print(json.dumps(columns, indent=1) if asked.json else as_markdown(columns))


if __name__ == "__main__":
    main()
