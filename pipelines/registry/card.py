"""card: writes the model card of a registered lens, for its users.

Reads     the artifacts that a lens was made of: shards (training data and licences), foundation,
          lens, evaluation.
Writes    README.md with the metadata that Hugging Face's hub reads.
Promises  every figure is the evaluation's, with its interval; the card says if recordings are
          generated.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import jinja2

from pipelines.benchmarks.table import figure_cells, read_table
from pipelines.evaluation import presenter
from pipelines.evaluation.result import read_result
from pipelines.foundation.info import read_info
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.splits import SPLITS
from pipelines.store.text import printable
from vitlens_core import modalities
from vitlens_core.model_files import LENS_FILE

_TEMPLATES = Path(__file__).parent
_UNSTATED = "not stated"
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def write(artifacts: Mapping[str, Artifact]) -> str:
    """Return the card as Markdown.

    Args:
        artifacts: by step, with shards, foundation, lens and evaluation.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=False,  # noqa: S701  it writes Markdown; `plain` is for the words of others
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template("model_card.md.j2").render(content(artifacts))


def plain(text: str) -> str:
    """Return text that others wrote as Markdown that shows just these characters, on one line."""
    one_line = " ".join(printable(text).split())
    return _MARKUP.sub(r"\\\1", html.escape(one_line))


def content(artifacts: Mapping[str, Artifact]) -> dict[str, object]:
    """Return the variables of the card's template."""
    result = read_result(artifacts["evaluation"])
    samples, licences = _trained_on(artifacts["shards"])
    source, measured = artifacts.get("source"), artifacts.get("benchmarks")
    return {
        "result": result,
        "words": presenter.words(result.modality),
        "describes": (modalities.load(result.modality).__doc__ or "").splitlines()[0],
        "foundation": read_info(artifacts["foundation"]),
        "file": LENS_FILE,
        "samples": {split: samples[split] for split in SPLITS if samples[split]},
        "licences": licences.most_common(),
        "data": source.manifest.config.get("kind", "A data set") if source else "Rendered objects",
        "is_generated": bool(source and source.manifest.config.get("generated")),
        "supervision": presenter.trained_against(result),
        "chance": presenter.fraction(result.zero_shot.chance),
        "tables": [
            presenter.markdown(table)
            for table in (presenter.zero_shot_table(result), presenter.retrieval_table(result))
            if table.rows
        ],
        "benchmarks": [
            (row.title, *figure_cells(row), row.seen_in_training)
            for row in (read_table(measured).rows if measured else ())
        ],
        "cell": presenter.cell,
        "evaluation": artifacts["evaluation"].fingerprint,
    }


def _trained_on(shards: Artifact) -> tuple[Counter[str], Counter[str]]:
    """Count the samples of each split, and the training samples of each licence."""
    samples: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    for path in shards.shards():
        for sample in shards.read(path, only=("json",)):
            info = SampleInfo.of(sample)
            samples[info.split] += 1
            if info.split == "train":
                licences[presenter.licence(info.licence or _UNSTATED)] += 1
    return samples, licences
