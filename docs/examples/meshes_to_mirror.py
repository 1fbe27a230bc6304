"""A folder of GLB files, one subfolder per class, as a mirror in Objaverse's layout.

python meshes_to_mirror.py meshes mirror

meshes/chair/red chair.glb  ─▶  mirror/hf-objaverse-v1/glbs/000-000/chair-red-chair.glb
"""

import gzip
import json
import re
import shutil
import sys
from pathlib import Path


def convert(meshes: Path, mirror: Path) -> int:
    """Copy the files and write the three annotation files; the number of objects."""
    layout = mirror / "hf-objaverse-v1"
    paths: dict[str, str] = {}
    classes: dict[str, list[str]] = {}
    annotations: dict[str, dict] = {}
    for file in sorted(meshes.glob("*/*.glb")):
        label = file.parent.name
        uid = re.sub(r"[^A-Za-z0-9_]+", "-", f"{label}-{file.stem}")[:64]
        if uid in paths:
            raise SystemExit(f"{file}: another file is called {uid} already; rename one")
        paths[uid] = f"glbs/000-000/{uid}.glb"
        classes.setdefault(label, []).append(uid)
        # Captions are made of name and tags; the licence is shown in the report and model card.
        annotations[uid] = {"name": file.stem, "tags": [], "license": "by"}
        (layout / paths[uid]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, layout / paths[uid])
    write(layout / "object-paths.json.gz", paths)
    write(layout / "lvis-annotations.json.gz", classes)
    write(layout / "metadata" / "000-000.json.gz", annotations)
    return len(paths)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(content).encode()))


if __name__ == "__main__":
    print(f"{convert(Path(sys.argv[1]), Path(sys.argv[2]))} objects in {sys.argv[2]}")
