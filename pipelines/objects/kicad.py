"""kicad: the library of electronic parts of KiCad, as Debian's `kicad-packages3d` has it.

Reads     names: `Capacitor_THT.3dshapes/C_Rect_L10.0mm_W5.0mm_P5.00mm.step`.
Promises  families are classes, and names are read into words.

Licence: CC BY-SA 4.0 with an exception for designs that use the parts.
Source: https://gitlab.com/kicad/libraries/kicad-packages3D
"""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.objects.layouts import Found, Listing, files_below
from pipelines.store.keys import plain_key
from vitlens_core.errors import ConfigError

_FAMILY = ".3dshapes"
_KINDS = {
    "BGA": "ball grid array",
    "C": "capacitor",
    "CP": "polarised capacitor",
    "D": "diode",
    "DIP": "dual in-line package",
    "DO": "diode outline",
    "FFC": "flat flexible cable",
    "L": "inductor",
    "LED": "light-emitting diode",
    "LGA": "land grid array",
    "QFN": "quad flat package without leads",
    "QFP": "quad flat package",
    "R": "resistor",
    "SMD": "surface-mounted",
    "SO": "small outline",
    "THT": "through-hole",
}
# A letter and a length: L10.0mm. Which letter stands for what is KiCad's own convention.
_LENGTHS = {
    "D": "{} mm in diameter",
    "H": "{} mm high",
    "L": "{} mm long",
    "P": "with a pitch of {} mm",
    "W": "{} mm wide",
}
_LENGTH = re.compile(r"([DHLPW])(\d+(?:\.\d+)?)mm")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)mm")
_GRID = re.compile(r"(\d+)x(\d+)")
_RUN_TOGETHER = re.compile(r"(?<=[a-z])(?=[A-Z])")


def list_kicad(root: Path) -> Listing:
    """List the STEP files of all families (`ConfigError`: there is none)."""
    objects = []
    for path in files_below(root):
        folder, _, name = path.rpartition("/")
        if not folder.endswith(_FAMILY) or not name.lower().endswith(".step"):
            continue
        family = folder.rpartition("/")[2].removesuffix(_FAMILY)
        part, label = name.rpartition(".")[0], family_words(family)
        objects.append(
            Found(
                uid=plain_key(f"{family}-{part}"),
                path=path,
                label=label,
                name=part.replace("_", " "),
                captions=(part_words(part), f"{part_words(part)}, of the family {label}"),
                licence="by-sa",
            )
        )
    if not objects:
        raise ConfigError(
            f"no <family>{_FAMILY}/<part>.step in {root}, the layout of KiCad's parts"
        )
    return Listing(objects, {}, [])


def family_words(family: str) -> str:
    """`Capacitor_THT` → `through-hole capacitor`; `Connector_PinHeader_2.54mm` → words too."""
    first, *rest = _words(family)
    before = [word for word in rest if word in ("through-hole", "surface-mounted")]
    after = [word for word in rest if word not in before]
    return " ".join([*before, first, *after])


def part_words(part: str) -> str:
    """`C_Rect_L10.0mm_W5.0mm_P5.00mm` → `capacitor Rect, 10 mm long, 5 mm wide, …`."""
    words, details = [], []
    for token in part.split("_"):
        detail = _detail(token)
        (details if detail else words).append(detail or " ".join(_words(token)))
    return ", ".join(filter(None, [" ".join(filter(None, words)), *details]))


def _words(text: str) -> list[str]:
    tokens = _RUN_TOGETHER.sub(" ", text.replace("_", " ")).split()
    # `Header` is a word, `JST` a name.
    plain = [token.lower() if token[1:].islower() else token for token in tokens]
    return [_KINDS.get(token, token) for token in plain]


def _detail(token: str) -> str:
    """Return the words of a length, a size or a grid; empty for other tokens."""
    if length := _LENGTH.fullmatch(token):
        return _LENGTHS[length[1]].format(f"{float(length[2]):g}")
    if size := _SIZE.fullmatch(token):
        return f"{float(size[1]):g} by {float(size[2]):g} mm"
    if grid := _GRID.fullmatch(token):
        return f"{int(grid[1])} by {int(grid[2])}"
    return token.lower() if token in ("Vertical", "Horizontal") else ""
