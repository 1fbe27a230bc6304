"""Reads every hostile file in the sandbox, and counts how it ends.

    python -m tests.chaos.hostile.counting --out tests/chaos/hostile.json

Reads     nothing: the files are made by the modules beside this one.
Writes    with `--out`: per group, the number of files by how they ended.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.fuzzing import LIMITS, outcome
from tests.chaos.hostile import arrays, media, meshes
from tests.chaos.hostile.meshes import REFUSED, Cases
from vitlens_core.api import untrusted
from vitlens_core.sandbox import Sandbox

# Group → the modality that reads its files.
GROUPS: dict[str, tuple[str, Cases]] = {
    "glTF and GLB": ("point_cloud", meshes.GLBS),
    "PLY, OBJ, STL, OFF and arrays of points": ("point_cloud", meshes.CLOUDS),
    "pictures": ("image", media.PICTURES),
    "sounds": ("audio", media.SOUNDS),
    "videos": ("video", media.VIDEOS),
    "arrays and tables of numbers": ("imu", arrays.ARRAYS),
}
_BY_A_LIMIT = ("exceeded", "needs")  # of time or memory, in the child: a refusal too


def ends(sandbox: Sandbox, folder: Path, group: str, step: int = 1) -> dict[str, str]:
    """Read every `step`-th file of a group: how each ended, by its name."""
    modality, cases = GROUPS[group]
    found = {}
    for name in list(cases)[::step]:
        path = folder / name
        path.write_bytes(cases[name][1]())
        end = outcome(sandbox, modality, path)
        found[name] = REFUSED if end in _BY_A_LIMIT else end
        path.unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    counts: dict[str, dict[str, int]] = {}
    with untrusted.sandbox(LIMITS) as sandbox, tempfile.TemporaryDirectory() as folder:
        for group in GROUPS:
            found = Counter(ends(sandbox, Path(folder), group).values())
            counts[group] = dict(sorted(found.items()))
            print(group, counts[group], flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main()
