"""job: lists, checks and divides a data set before a recording is opened; `step` declares it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask
from pipelines.source.base import Incomplete, Pair, SourceSettings
from pipelines.source.step import STEP
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.files import FileEntry, write_atomic
from pipelines.store.keys import LONGEST_KEY, is_key
from pipelines.store.pieces import Piece
from pipelines.store.requests import side_by_side
from pipelines.store.splits import SPLITS, cut_into_shards, ranked
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError

# The place of the files, limits and the size of shards do not change what the data set is.
_NOT_IDENTITY = {"root", "most_missing", "pairs_per_shard", "read_s", "read_mb"}


_SHOWN = 5  # most missing files that a message lists


_PAIR = TypeAdapter(Pair)


Shards = dict[str, list[Pair]]  # by name


@dataclass(frozen=True)
class Listing:
    """The complete pairs, each with its split, and the pairs that lack a file."""

    pairs: list[Pair]
    missing: list[Quarantined]


def run(
    runtime: Runtime, config: SourceSettings, modality: str, piece: Piece | None = None
) -> Artifact:
    """List the data set's pairs.

    Args:
        piece: pass on its shards only; the list itself is always finished.

    Raises:
        ConfigError: the data set does not exist or has another modality, or its lists contradict
            themselves or the files.
    """
    listing = listed(config, modality)
    refuse_empty_sides(listing.pairs)
    shards = _shards(listing.pairs, config.pairs_per_shard)
    lines = {name: _lines(pairs) for name, pairs in shards.items()}
    settings = config.model_dump(mode="json", exclude=_NOT_IDENTITY)
    identity = {
        **settings,
        "generated": config.generated,
        "listing": _digest(config, shards, lines),
    }
    build = STEP.begin(runtime, identity, {})
    artifact = build.existing or _write(build, lines, listing)
    return piece.of_artifact(artifact) if piece else artifact


def _write(build: Build, lines: Mapping[str, bytes], listing: Listing) -> Artifact:
    files = list(side_by_side(lambda one: _write_list(build, *one), lines.items()))
    counts = {"samples": len(listing.pairs), "shards": len(files)}
    return build.commit(files, counts, listing.missing)


def _write_list(build: Build, name: str, data: bytes) -> FileEntry:
    return write_atomic(build.folder / f"{name}.jsonl", data)


def listed(config: SourceSettings, modality: str) -> Listing:
    """List the pairs of a data set, check and divide them; errors as `run`."""
    if config.modalities and modality not in config.modalities:
        raise ConfigError(
            f"source.kind {config.kind!r} has recordings of {', '.join(config.modalities)}; "
            f"{modality} needs another kind"
        )
    found = sorted(config.pairs(), key=lambda pair: pair.key)
    if not found:
        raise ConfigError(f"source.root: {config.folder()} has no pairs of {config.kind}")
    _refuse_keys(found)
    pairs = [pair for pair in found if isinstance(pair, Pair)]
    whole, missing = _parted(pairs, config)
    missing += [
        Quarantined(key=one.key, step=STEP.name, reason=one.reason)
        for one in found
        if isinstance(one, Incomplete)
    ]
    if len(missing) > config.most_missing * len(found):
        raise ConfigError(_missing_message(missing, len(found), config))
    divided = divide(_counted(whole, config), config)
    _refuse_leaks(divided)
    return Listing(divided, missing)


def tasks_of_source(source: Artifact) -> list[ShardTask]:
    """Return one task per index file; shards keep their names from here to the targets."""
    names = [file.name for file in source.manifest.files]
    return [ShardTask(name.removesuffix(".jsonl")) for name in names]


def read_pairs(source: Artifact, name: str) -> list[Pair]:
    """Read the pairs of one shard."""
    # Split as bytes: `str.splitlines` also breaks at characters that texts may contain.
    lines = source.path(f"{name}.jsonl").read_bytes().splitlines()
    return [_PAIR.validate_json(line) for line in lines]


def divide(pairs: Sequence[Pair], config: SourceSettings) -> list[Pair]:
    """Give every pair a split: the data set's if it states one, else by the hash of its group.

    The groups of each label are divided separately, so that every class is in every split.
    """
    stated = {pair.split for pair in pairs} - {None}
    sides = {pair.key: pair.split for pair in pairs if pair.split}
    if not stated:
        tests = _drawn(pairs, config.held_out_fraction, config.seed, "test")
        sides = {pair.key: "test" if _group(pair) in tests else "train" for pair in pairs}
    elif None in {pair.split for pair in pairs}:
        unsure = sum(pair.split is None for pair in pairs)
        raise ConfigError(
            f"the data set states a split for {len(pairs) - unsure} pairs and none for {unsure}; "
            "state one for all or for none"
        )
    if "val" not in stated and config.validation_fraction:
        training = [pair for pair in pairs if sides[pair.key] == "train"]
        validation = _drawn(training, config.validation_fraction, config.seed, "val")
        sides |= {pair.key: "val" for pair in training if _group(pair) in validation}
    return [replace(pair, split=sides[pair.key]) for pair in pairs]


def _drawn(pairs: Sequence[Pair], fraction: float, seed: int, purpose: str) -> set[str]:
    """Draw a fraction of the groups of every label, at least one if there are two."""
    by_label: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        labels[_group(pair)].add(pair.label or "")
    for group, known in labels.items():
        by_label[known.pop() if len(known) == 1 else "(several)"].add(group)
    drawn: set[str] = set()
    for groups in by_label.values():
        share = max(1, round(fraction * len(groups))) if len(groups) > 1 else 0
        drawn.update(ranked(groups, seed, purpose)[:share])
    return drawn


def _group(pair: Pair) -> str:
    return pair.group or pair.key


def _counted(pairs: list[Pair], config: SourceSettings) -> list[Pair]:
    """Choose at most `count` pairs, from every class in turn."""
    if config.count is None or config.count >= len(pairs):
        return pairs
    order = sorted(pairs, key=lambda p: hashlib.sha256(f"{config.seed}/{p.key}".encode()).digest())
    seen: Counter[tuple[str | None, str | None]] = Counter()
    turns = []
    for pair in order:
        turns.append((seen[pair.label, pair.split], pair.key))
        seen[pair.label, pair.split] += 1
    chosen = {key for _, key in sorted(turns)[: config.count]}
    return [pair for pair in pairs if pair.key in chosen]


def _parted(pairs: list[Pair], config: SourceSettings) -> tuple[list[Pair], list[Quarantined]]:
    folder, whole, missing = config.folder(), [], []
    for pair in pairs:
        absent = [name for name in pair.files if not _inside(folder, name, pair).is_file()]
        if absent:
            reason = f"no file {resolve_inside(folder, absent[0])}"
            missing.append(Quarantined(key=pair.key, step=STEP.name, reason=reason))
        else:
            whole.append(pair)
    return whole, missing


def _inside(folder: Path, name: str, pair: Pair) -> Path:
    try:
        return resolve_inside(folder, name)
    except InputError as error:
        raise ConfigError(f"source.root: the pair {pair.key} names {error}") from error


def _missing_message(missing: list[Quarantined], of: int, config: SourceSettings) -> str:
    shown = "\n".join(f"  {item.key}: {item.reason}" for item in missing[:_SHOWN])
    return (
        f"source.root: {len(missing)} of {of} pairs lack a file, such as\n{shown}\n"
        f"at most {config.most_missing:g} of them may (source.most_missing): correct the folder, "
        "complete the data set, or allow more"
    )


def _refuse_keys(pairs: Sequence[Pair | Incomplete]) -> None:
    for pair in pairs:
        if not is_key(pair.key):
            raise ConfigError(
                f"key {pair.key[:100]!r}: expected letters, digits, `-` and `_` only, up to "
                f"{LONGEST_KEY}"
            )
    twice = [key for key, count in Counter(pair.key for pair in pairs).items() if count > 1]
    if twice:
        raise ConfigError(f"{len(twice)} keys occur twice in the data set, such as {twice[0]!r}")


def refuse_empty_sides(pairs: Sequence[Pair]) -> None:
    """Refuse to train on a data set without pairs to train on or to evaluate on (`ConfigError`)."""
    counts = Counter(pair.split for pair in pairs)
    if lacking := [split for split in ("train", "test") if not counts[split]]:
        found = ", ".join(f"{counts[split]} for {split}" for split in SPLITS)
        raise ConfigError(
            f"source: no pair for {' or '.join(lacking)} ({found}); state all three splits, or "
            "none and two or more groups of a label: source.held_out_fraction divides them then"
        )


def _refuse_leaks(pairs: list[Pair]) -> None:
    """Refuse a subject, scene, video or recording that is in more than one split."""
    sides: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in pairs:
        sides["group", _group(pair)].add(str(pair.split))
        # Windows of one recording share its file and are told apart by `reader_options`.
        sides["recording", f"{pair.signal} {json.dumps(pair.reader_options, sort_keys=True)}"].add(
            str(pair.split)
        )
    leaks = [(what, splits) for what, splits in sides.items() if len(splits) > 1]
    if leaks:
        (kind, name), splits = leaks[0]
        raise ConfigError(
            f"{len(leaks)} leaks between splits, such as the {kind} {name.strip()!r}, which is "
            f"in {' and '.join(sorted(splits))}; correct the data set's lists"
        )


def _shards(pairs: list[Pair], pairs_per_shard: int) -> Shards:
    """Cut each split into shards."""
    splits, keys = (pair.split for pair in pairs), [pair.key for pair in pairs]
    shards = cut_into_shards(splits, keys, pairs_per_shard)
    return {name: [pairs[index] for index in members] for name, members in shards}


def _lines(pairs: Sequence[Pair]) -> bytes:
    rows = (json.dumps(asdict(pair), ensure_ascii=False, sort_keys=True) for pair in pairs)
    return "".join(f"{row}\n" for row in rows).encode()


def _digest(config: SourceSettings, shards: Shards, lines: dict[str, bytes]) -> str:
    """Return a digest of the listing and of the files' sizes: other files give another artifact."""
    digest, folder = hashlib.sha256(), config.folder()
    for name, pairs in shards.items():
        digest.update(f"{name}\n".encode() + lines[name])
        for pair in pairs:
            for path in pair.files:
                digest.update(str(resolve_inside(folder, path).stat().st_size).encode())
    return digest.hexdigest()
