"""reference: the settings, the modalities, the data sets and the file formats, in tables."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, get_type_hints

from pydantic import BaseModel

from docs.generators.tables import (
    described_attributes,
    first_paragraph,
    section_in,
    sections,
    sentence,
    settings_table,
    table,
    type_name,
)
from pipelines.benchmarks.base import Benchmark
from pipelines.benchmarks.datasets import benchmarks
from pipelines.config import RunConfig
from pipelines.evaluation.result import (
    Calibration,
    EvaluationResult,
    Prediction,
    Recalls,
    Scores,
)
from pipelines.execution.shard_tasks import ShardRecord
from pipelines.execution.step import Step
from pipelines.flow import STEPS
from pipelines.index.items import IndexInfo, IndexItem
from pipelines.lens.curves import TrainingCurves, ValidationPoint
from pipelines.registry.gates.base import GATES
from pipelines.report.content import Report
from pipelines.shards.sample import SampleInfo
from pipelines.source import datasets
from pipelines.source.base import Pair, SourceSettings
from pipelines.store.artifacts import Manifest, Quarantined
from pipelines.store.files import FileEntry
from pipelines.sweep.results import SweepResults
from vitlens_core import modalities as known
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.kinds import OneOf
from vitlens_core.modalities.base import LensedModality, Modality
from vitlens_core.readers.formats import OBJECTS, Format, names

# Filled in by the run: nobody sets them.
_DERIVED = ("modality", "name")


def run_settings() -> str:
    """Every section of a run's settings, and the sections in it."""
    parts = [_section(name, model, 2) for name, model in sections(RunConfig).items()]
    return "\n".join([*parts, *_kinds("gates.<name>", GATES, 2)])


def _section(path: str, model: type[BaseModel], level: int) -> str:
    inner = sections(model)
    lines = [f"{'#' * level} `{path}`", "", first_paragraph(model), ""]
    if len(inner) < len(model.model_fields):
        lines += [settings_table(model, f"{path}.", without=_DERIVED), ""]
    for name, field in model.model_fields.items():
        if one_of := OneOf.of(field):
            lines += _kinds(f"{path}.{name}", one_of, level + 1)
    lines += [_section(f"{path}.{name}", model, level + 1) for name, model in inner.items()]
    return "\n".join(lines)


def _kinds(path: str, one_of: OneOf, level: int) -> Iterator[str]:
    """The settings of every kind that a field takes."""
    for kind in one_of.names():
        model = one_of.load(kind)
        yield from (f"{'#' * level} `{path}` of kind `{kind}`", "", first_paragraph(model), "")
        if set(model.model_fields) - {*_DERIVED, "kind"}:
            rows = settings_table(model, f"{path}.", (*_DERIVED, "kind"), f"{kind}.")
            yield from (rows, "")


def modalities() -> str:
    """Every modality: what its recordings are, and the settings of its signal and tokenizer."""
    return "\n".join(_modality(known.load(name)) for name in known.names())


def _modality(modality: Modality) -> str:
    said = inspect.getdoc(sys.modules[type(modality).__module__]) or ""
    title, _, rest = said.partition("\n\n")
    lines = [f"## {modality.name}", "", " ".join(title.split()), "", _prose(rest), ""]
    if not isinstance(modality, LensedModality):
        lines += [f"Files: {names(modality.takes)}.", ""]
        return "\n".join([*lines, "The foundation's own; it has no lens and no settings.", ""])
    for title, path, config in (
        ("What is stored", "signal.", modality.Signal),
        ("What the network is", "lens.tokenizer.", modality.Tokenizer),
    ):
        lines += [f"### {title} {{ #{modality.name}-{path.rstrip('.').replace('.', '-')} }}", ""]
        lines += [first_paragraph(config), ""]
        if config.model_fields:
            lines += [settings_table(config, path, anchor=f"{modality.name}."), ""]
        for name, inner in sections(config).items():
            lines += [first_paragraph(inner), ""]
            lines += [settings_table(inner, f"{path}{name}.", anchor=f"{modality.name}."), ""]
    lines += [f"Files: {names(modality.takes)}.", ""]
    options = list(inspect.signature(modality.read).parameters)[1:]  # after the path
    lines += [f"Stored as `{modality.signal_file}`.", ""]
    if options:
        lines += [f"Options of its reader: {', '.join(f'`{name}`' for name in options)}.", ""]
    return "\n".join(lines)


def data_sets() -> str:
    """What can be read and what can be measured."""
    lines = ["## Sources", "", "Settings of every source:", ""]
    lines += [settings_table(SourceSettings, "source.", without=("kind",)), ""]
    lines += [_source(kind, datasets.load(kind)) for kind in datasets.kinds()]
    lines += ["## Benchmarks", "", _benchmarks(list(benchmarks().values())), ""]
    return "\n".join(lines)


def _source(kind: str, source: type[SourceSettings]) -> str:
    held = ", ".join(source.modalities) or "any modality"
    lines = [f"### {kind}", "", f"Holds: {held}.", "", _docstring(source), ""]
    inherited = [*SourceSettings.model_fields]
    own = [name for name in source.model_fields if name not in inherited]
    if own:
        lines += [settings_table(source, "source.", without=inherited), ""]
    return "\n".join(lines)


def _benchmarks(found: list[Benchmark]) -> str:
    rows = [
        (f"`{b.name}`", b.title, b.modality, b.task, b.protocol, b.licence)
        for b in sorted(found, key=lambda b: (b.modality, b.name))
    ]
    return table(("name", "data set", "modality", "task", "protocol", "licence"), rows)


def files() -> str:
    """The formats of files, and the modalities that take each."""
    taken_by: dict[Format, list[str]] = {}
    for modality in map(known.load, known.names()):
        for content in modality.takes:
            taken_by.setdefault(content, []).append(modality.name)
    for content in OBJECTS:
        taken_by.setdefault(content, []).append("objects of a mirror")
    rows = [
        (content.name, " ".join(f"`{e}`" for e in content.endings), ", ".join(by))
        for content, by in taken_by.items()
    ]
    return table(("format", "usual endings", "taken by"), rows)


def formats() -> str:
    """What lies in the artifact of every step."""
    return "\n".join(map(_format, STEPS))


# Where each record of the artifacts stands; what it holds in turn follows it.
RECORDS: tuple[tuple[str, type], ...] = (
    ("`manifest.json` of every artifact", Manifest),
    ("a file, in manifests and records", FileEntry),
    ("a sample that was left out, in manifests and records", Quarantined),
    ("`<split>-NNNNN.record.json`", ShardRecord),
    ("a line of `<split>-NNNNN.jsonl` of a source", Pair),
    ("`json` of a sample", SampleInfo),
    ("`foundation.json`", FoundationInfo),
    ("`curves.json` of a lens", TrainingCurves),
    ("an entry of `val` in `curves.json`", ValidationPoint),
    ("`metrics.json` of an evaluation", EvaluationResult),
    ("zero-shot classification in `metrics.json`", Scores),
    ("retrieval in `metrics.json`", Recalls),
    ("`calibration.json`", Calibration),
    ("an entry of `predictions.json`", Prediction),
    ("`index.json`", IndexInfo),
    ("a line of `items.jsonl`", IndexItem),
    ("`report.json`", Report),
    ("`sweep.json`", SweepResults),
)


def records() -> str:
    """The fields of every record that artifacts, reports and sweeps hold."""
    return "\n".join(_record(place, kind) for place, kind in RECORDS)


def _record(place: str, kind: type) -> str:
    if issubclass(kind, BaseModel):
        rows = [
            (f"`{name}`", type_name(field.annotation), sentence(field.description or ""))
            for name, field in kind.model_fields.items()
        ]
    else:
        types, said = get_type_hints(kind), described_attributes(kind)
        rows = [(f"`{n}`", type_name(types[n]), said.get(n, "")) for n in types]
    title = f"### {kind.__name__} {{ #{kind.__name__} }}"
    lines = [title, "", f"{sentence(place)}. {first_paragraph(kind)}", ""]
    return "\n".join([*lines, table(("field", "type", "what it is"), rows), ""])


def _format(step: Step) -> str:
    joined = " or " if step.takes_one_input else ", "
    links = joined.join(f"[{name}](#{name})" for name in step.inputs)
    rows = [(_names(pattern), sentence(holds)) for pattern, holds in step.writes.items()]
    lines = [
        f"## {step.name}",
        "",
        step.description,
        "",
        f"Version {step.version}, made by {step.made_by}. Reads {step.reads}."
        + (f" Upstream: {links}." if links else ""),
        "",
        table(("file", "what it holds"), rows),
        step.promises,
        "",
    ]
    return "\n".join(lines)


def _names(pattern: str) -> str:
    return ", ".join(f"`{name}`" for name in pattern.split(", "))


def _docstring(thing: Any) -> str:
    return _prose(inspect.getdoc(thing) or "")


def _prose(text: str) -> str:
    """A docstring as Markdown: what is indented in it is a block as it stands."""
    return "\n".join(_blocks(text))


def _blocks(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("    "):
            yield f"```text\n{textwrap.dedent(paragraph)}\n```\n"
        elif paragraph.startswith("Attributes:"):
            continue
        else:
            yield f"{paragraph}\n"


def undescribed() -> list[str]:
    """Dotted paths of settings that no description explains."""
    return [path for path, model in _models() for path in _silent(model, path)]


def _models() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", RunConfig
    for name in known.lensed():
        modality = known.load_lensed(name)
        yield f"{name}.signal.", modality.Signal
        yield f"{name}.lens.tokenizer.", modality.Tokenizer


def _silent(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if one_of := OneOf.of(field):
            for kind in one_of.names():
                yield from _silent(one_of.load(kind), f"{prefix}{name}[{kind}].")
        elif inner := section_in(field.annotation):
            yield from _silent(inner, f"{prefix}{name}.")
        elif not field.description and name not in ("kind", *_DERIVED):
            yield prefix + name
