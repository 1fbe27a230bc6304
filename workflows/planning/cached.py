"""cached: tells which published models are on this machine; no server is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def is_in_cache(spec: str) -> bool:
    """Whether a published model is on this machine; of `hf:` its config alone is looked for."""
    kind, _, name = spec.partition(":")
    return kind not in _IN_CACHE or _IN_CACHE[kind](name)


def _has_open_clip(name: str) -> bool:
    import open_clip  # late, here and below: it takes seconds

    model, _, tag = name.partition("/")
    if Path(tag).is_file():
        return True
    stated = open_clip.get_pretrained_cfg(model, tag)
    owner_name_file = str(stated.get("hf_hub", "")).strip("/").split("/")
    names = owner_name_file[2:] or ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    if _in_hub_cache("/".join(owner_name_file[:2]), names):
        return True
    url = str(stated.get("url", ""))
    return bool(url) and Path("~/.cache/clip", url.rpartition("/")[2]).expanduser().is_file()


def _has_timm(name: str) -> bool:
    import timm

    stated = timm.get_pretrained_cfg(name, allow_unregistered=True)
    hub = stated.hf_hub_id if stated is not None else None
    return _in_hub_cache(str(hub or ""), ["model.safetensors", "pytorch_model.bin"])


def _has_hugging_face(name: str) -> bool:
    place = name.partition("#")[0]
    return Path(place).is_dir() or _in_hub_cache(place, ["config.json"])


def _in_hub_cache(hub: str, names: Sequence[str]) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return bool(hub) and any(isinstance(try_to_load_from_cache(hub, n), str) for n in names)


# By kind of spec; the weights of `lit` lie in installed packages.
_IN_CACHE: dict[str, Callable[[str], bool]] = {
    "open_clip": _has_open_clip,
    "timm": _has_timm,
    "hf": _has_hugging_face,
}
