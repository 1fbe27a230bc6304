"""Finds the checkpoint file of a source.

A path is used as it is. A source `scheme:/…` (`models:/name@champion`) is handed to the installed
package that has an entry point of that name in the group `vitlens.sources`: a function from the
source to a local folder. vitlens_core itself knows no registry.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

from vitlens_core.digests import DIGESTS_FILE, check_digests
from vitlens_core.errors import ConfigError
from vitlens_core.model_files import LENS_FILE, PRETRAINED_FILE

GROUP = "vitlens.sources"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/")


def locate(source: str | Path) -> Path:
    """Find the checkpoint file of a source: a file, a model's folder, or `scheme:/…`.

    Raises:
        ConfigError: nothing is there, the folder has no lens, or no package opens the scheme.
        IntegrityError: a file of the folder differs from the folder's `digests.json`.
    """
    scheme = _SCHEME.match(source) if isinstance(source, str) else None
    path = _fetch(scheme[1], str(source)) if scheme else Path(source)
    if not path.is_dir():
        if not path.is_file():
            raise ConfigError(f"no checkpoint at {path}")
        return path
    if scheme is None and (path / DIGESTS_FILE).is_file():
        check_digests(path)
    # A registered model keeps its files under artifacts/.
    for lens in (path / LENS_FILE, path / "artifacts" / LENS_FILE, path / PRETRAINED_FILE):
        if lens.is_file():
            return lens
    raise ConfigError(
        f"{path} holds no {LENS_FILE} and no {PRETRAINED_FILE}; name the folder of a lens or model"
    )


def _fetch(scheme: str, source: str) -> Path:
    openers = [point for point in entry_points(group=GROUP) if point.name == scheme]
    if not openers:
        raise ConfigError(
            f"nothing installed here can open {scheme}:/ sources; "
            "models:/ needs pip install 'vitlens[pipelines]'"
        )
    return Path(openers[0].load()(source))
