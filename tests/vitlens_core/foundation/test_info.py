"""What `foundation.json` states, for whoever writes and reads it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from vitlens_core.foundation.info import FoundationInfo

STATED = {
    "spec": "lit:a+b",
    "embed_dim": 8,
    "image_size_px": 28,
    "digest": "0" * 64,
    "background": 255,
    "logit_scale": 14.501025199890137,
}


@pytest.mark.parametrize("stated", [STATED, {**STATED, "teachers": {"near": "depth"}}])
def test_it_comes_back_as_it_was(stated: dict) -> None:
    info = FoundationInfo.model_validate_json(json.dumps(stated))
    assert info.model_dump(mode="json") == stated
    assert FoundationInfo.model_validate_json(info.model_dump_json()) == info


def test_a_package_of_the_hub_may_say_less_and_a_file_more() -> None:
    """A saved model states neither background nor scale; its config holds other keys."""
    less = {name: STATED[name] for name in ("spec", "embed_dim", "image_size_px", "digest")}
    info = FoundationInfo.model_validate({**less, "later": 1})
    assert (info.background, info.logit_scale, info.teachers) == (255, None, {})
    assert info.model_dump(mode="json", exclude_unset=True) == less


@pytest.mark.parametrize("missing", ["spec", "embed_dim", "image_size_px", "digest"])
def test_what_it_takes_to_open_a_foundation_must_be_there(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        FoundationInfo.model_validate({k: v for k, v in STATED.items() if k != missing})


def test_it_is_read_without_torch() -> None:
    code = "import sys, vitlens_core.foundation.info; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
