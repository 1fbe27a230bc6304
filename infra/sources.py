"""What stands in the sources of a checkout: modules, their functions, imports and habits.

Reads files with `ast` and imports none of them: any checkout can be read, whatever its layout.
A room is a folder that lies directly in a package, with the folders in it (of data sets, gates,
losses: its kinds), or a module that lies directly in the package.
"""

from __future__ import annotations

import ast
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("vitlens_core", "pipelines", "workflows")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Import(NamedTuple):
    """One imported name, dotted, and whether the statement stands in a function."""

    name: str
    in_function: bool


@dataclass(frozen=True)
class Module:
    """One file of the three packages; `imports` leaves out what TYPE_CHECKING guards."""

    name: str
    path: Path
    lines: int
    commented: int
    with_any: int
    functions: tuple[Function, ...]
    imports: tuple[Import, ...]

    @property
    def folder(self) -> str:
        return self.path.parent.as_posix()

    @property
    def room(self) -> str:
        return "/".join(self.path.parts[:2])


def read_modules(root: Path, packages: Iterable[str] = PACKAGES) -> dict[str, Module]:
    """Every module of the packages, by dotted name."""
    paths = sorted(path for package in packages for path in (root / package).rglob("*.py"))
    if not paths:
        raise SystemExit(f"no module of {', '.join(packages)} under {root}: give --root a checkout")
    return {module.name: module for module in (_read(root, path) for path in paths)}


def _read(root: Path, path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    place = path.relative_to(root)
    parent = ".".join(place.parent.parts)
    with path.open("rb") as file:
        tokens = tokenize.tokenize(file.readline)
        commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    return Module(
        name=parent if place.stem == "__init__" else f"{parent}.{place.stem}",
        path=place,
        lines=len(text.splitlines()),
        commented=len(commented),
        with_any=len({n.lineno for n in nodes if isinstance(n, ast.Name) and n.id == "Any"}),
        functions=tuple(n for n in nodes if isinstance(n, Function)),
        imports=tuple(_imports(tree, parent, in_function=False)),
    )


def _imports(node: ast.AST, package: str, *, in_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, in_function) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, package)
            yield from (Import(f"{base}.{alias.name}", in_function) for alias in child.names)
        else:
            inside = in_function or isinstance(child, Function)
            yield from _imports(child, package, in_function=inside)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that `from … import` reads, the dots of a relative one resolved."""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*base, *filter(None, [node.module])])


def arrows(modules: Mapping[str, Module]) -> set[tuple[str, str]]:
    """Which module imports which, wherever the import stands."""
    return {
        (module.name, imported)
        for module in modules.values()
        for name, _ in module.imports
        for imported in (name if name in modules else name.rpartition(".")[0],)
        if imported in modules and imported != module.name
    }


def circles(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of nodes that all reach one another: strongly connected components above one."""
    targets: dict[str, set[str]] = defaultdict(set)
    for source, target in pairs:
        targets[source].add(target)
    reached = {node: _reached(node, targets) for node in targets}
    groups = {
        frozenset(other for other in reached[node] if node in reached.get(other, ()))
        for node in reached
        if node in reached[node]
    }
    return sorted(sorted(group) for group in groups)


def _reached(node: str, targets: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = [*targets[node]]
    while ahead:
        following = ahead.pop()
        if following not in seen:
            seen.add(following)
            ahead += targets.get(following, ())
    return seen


def is_annotated(function: Function) -> bool:
    """Whether the result and every argument but `self` and `cls` are annotated."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    every += [one for one in (given.vararg, given.kwarg) if one]
    return bool(function.returns) and all(
        one.annotation for one in every if one.arg not in ("self", "cls")
    )


def patches(root: Path) -> list[str]:
    """Where tests replace a name of the three packages by `setattr` or `patch`: `file:line`."""
    found = []
    for path in sorted((root / "tests").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = _own_names(tree)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        lines = {call.lineno for call in calls if _patches(call, own)}
        found += [f"{path.relative_to(root).as_posix()}:{line}" for line in sorted(lines)]
    return found


def _own_names(tree: ast.Module) -> set[str]:
    """What a test file calls the modules, classes and functions it imports of the packages."""
    return {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if is_own(alias.name if isinstance(node, ast.Import) else node.module or "")
    }


def is_own(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES


def _patches(call: ast.Call, own: set[str]) -> bool:
    if not call.args or not ast.unparse(call.func).endswith((".setattr", ".patch", ".object")):
        return False
    target = call.args[0]
    if isinstance(target, ast.Constant):
        return isinstance(target.value, str) and is_own(target.value)
    while isinstance(target, ast.Attribute):
        target = target.value
    return isinstance(target, ast.Name) and target.id in own
