"""neighbours: the nearest neighbours of every training sample, by its frozen targets.

Reads     the targets of the training split, once before training.
Writes    a table, int32 [N, K]: the numbers of each sample's K nearest others, nearest first.
          Samples are numbered in the order of the shards.
Promises  exact: all pairs are compared, tile by tile; memory for the targets and one tile.

A batch is drawn by it (`batches`): beside a sample come some of its neighbours, which are the
negatives that a lens tells apart last. OpenShape (arXiv 2305.10764, §3.3) draws so.

Axes: N samples, K neighbours, E embedding.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from upath import UPath

from pipelines.execution.remote import call_as_task
from pipelines.execution.runtime import Resources
from pipelines.lens.settings import HardNegatives
from pipelines.lens.shard_table import (
    SamplePlace,
    TrainingShard,
    TrainingShardReader,
    read_targets,
)
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import decode_array, encode_array, targets_file
from vitlens_core.errors import ConfigError, IntegrityError

TABLE_FILE = "neighbours.npy"
_MOST_OPEN = 64  # shards that neighbours were read from last
_TILE_ROWS, _TILE_COLUMNS = 1024, 65_536  # 268 MB of similarities at a time


class Neighbours:
    """Joins each sample with some of its nearest neighbours.

    A shard that neighbours come from stays open for a while; with a store elsewhere its tar is
    copied, so shards on the machine's own disks suit this.
    """

    def __init__(self, table: np.ndarray, group: int) -> None:
        """`table` [N, K] is that of `neighbours`."""
        self.table, self.group = table, group
        self._open: OrderedDict[int, TrainingShardReader] = OrderedDict()

    def joined(
        self, places: Sequence[SamplePlace], shards: Sequence[TrainingShard], seeds: Sequence[str]
    ) -> list[SamplePlace]:
        """Return each place followed by `group` - 1 of its neighbours' places.

        Args:
            seeds: one of each place; it decides which of its neighbours are drawn.

        Raises:
            IntegrityError: the table was made of other shards.
        """
        starts = np.cumsum([0, *(shard.size for shard in shards)])
        if starts[-1] != len(self.table):
            raise IntegrityError(
                f"the table of neighbours has {len(self.table)} samples, the shards {starts[-1]}; "
                "remove the checkpoints of this training and start it again"
            )
        numbers = {id(shard): number for number, shard in enumerate(shards)}
        whole = []
        for place, seed in zip(places, seeds, strict=True):
            row = int(starts[numbers[id(place.shard.source)]]) + place.number
            rng = random.Random(f"{seed}/neighbours")  # noqa: S311
            drawn = rng.sample(range(self.table.shape[1]), self.group - 1)
            whole.append(place)
            for sample in self.table[row, drawn]:
                number = int(np.searchsorted(starts, sample, side="right")) - 1
                whole.append(
                    SamplePlace(self._opened(number, shards), int(sample - starts[number]))
                )
        return whole

    def _opened(self, number: int, shards: Sequence[TrainingShard]) -> TrainingShardReader:
        reader = self._open.pop(number, None) or shards[number].opened()
        self._open[number] = reader
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return reader


def table_of_workers(
    resources: Resources, folder: UPath, targets: Artifact, settings: HardNegatives
) -> UPath:
    """Have the table written on what one training worker takes; return its path.

    Raises:
        ConfigError: as `write_table`.
        WorkerError, RayError: the task failed in a way that nobody foresaw, or was lost repeatedly.
    """
    pool = resources.train_pool
    device = torch.device("cuda" if pool.gpus else "cpu")
    write = partial(_write_with_threads, folder, targets, settings, device)
    call_as_task(resources, pool, write, resources)
    return folder / TABLE_FILE


def _write_with_threads(
    folder: UPath,
    targets: Artifact,
    settings: HardNegatives,
    device: torch.device,
    resources: Resources,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(resources.threads())  # Ray gives the process of a task one
    try:
        write_table(folder, targets, settings, device)
    finally:
        torch.set_num_threads(before)


def write_table(
    folder: UPath, targets: Artifact, settings: HardNegatives, device: torch.device
) -> UPath:
    """Write the table into a folder, unless it is there already; return its path.

    Raises:
        ConfigError: a sample lacks the targets, or there are too few samples.
    """
    path = folder / TABLE_FILE
    if not path.exists():
        means = mean_targets(targets, settings.by)
        if len(means) <= settings.nearest:
            raise ConfigError(
                f"lens.train.hard_negatives: {settings.nearest} neighbours of each sample are "
                f"asked for, but only {len(means)} samples are trained on; lower `nearest`"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encode_array(nearest(means.to(device), settings.nearest)))
    return path


def read_table(path: UPath) -> np.ndarray:
    """Return the table, int32 [N, K]."""
    return decode_array(path.read_bytes())


def mean_targets(targets: Artifact, kind: str) -> Tensor:
    """Return the unit-norm mean of each training sample's targets of a kind, [N, E] fp16."""
    shards = targets.shards("train")
    samples = (s for path in shards for s in targets.read(path, [targets_file(kind)]))
    blocks = []
    while rows := list(islice(samples, _TILE_ROWS)):
        means = torch.stack([torch.from_numpy(read_targets(s, kind)).mean(0) for s in rows])
        blocks.append(F.normalize(means, dim=-1).half())
    return torch.cat(blocks) if blocks else torch.zeros(0, 0)


def nearest(
    vectors: Tensor, count: int, tile: tuple[int, int] = (_TILE_ROWS, _TILE_COLUMNS)
) -> np.ndarray:
    """Return the numbers of the `count` nearest others of each unit-norm vector [N, E].

    Args:
        tile: rows and columns of similarities that are computed at a time.
    """
    # A CPU multiplies half-precision matrices slowly.
    vectors = vectors.float() if vectors.device.type == "cpu" else vectors
    starts = range(0, len(vectors), tile[0])
    found = [_nearest_of(vectors, start, count, tile) for start in starts]
    return torch.cat(found).cpu().numpy().astype(np.int32)


def _nearest_of(vectors: Tensor, start: int, count: int, size: tuple[int, int]) -> Tensor:
    """Return the nearest others of the tile of rows that begins at `start`."""
    own = vectors[start : start + size[0]]
    rows = torch.arange(start, start + len(own), device=own.device)
    scores = own.new_empty(len(own), 0)
    numbers = rows.new_empty(len(own), 0)
    for first in range(0, len(vectors), size[1]):
        tile = own @ vectors[first : first + size[1]].T
        columns = torch.arange(first, first + tile.shape[1], device=own.device)
        tile = tile.masked_fill(rows[:, None] == columns, -torch.inf)
        scores = torch.cat([scores, tile], 1)
        numbers = torch.cat([numbers, columns.expand(len(own), -1)], 1)
        scores, order = scores.topk(min(count, scores.shape[1]), dim=1)
        numbers = numbers.gather(1, order)
    return numbers
