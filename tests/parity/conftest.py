"""Published numbers, read once."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data():
    return DATA


@pytest.fixture(scope="session")
def tiny():
    """Path of a file of the tiny reference."""
    return DATA / "tiny"


@pytest.fixture(scope="session")
def read_tiny(tiny):
    """Tensors of a tiny file, read anew each time, so that tests may change them."""
    return lambda name: load_file(tiny / f"{name}.safetensors")
