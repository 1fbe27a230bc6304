"""_sanity_child: the process in which `sanity` loads a model, with MLflow alone as a consumer.

python _sanity_child.py MODEL_FOLDER REPEATS      prints one line of JSON
"""

import gc
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def peak_memory_mb() -> float:
    """Return the most memory that this program took; `getrusage` counts its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


started = time.perf_counter()
import mlflow  # noqa: E402  the import is part of the loading time that is measured

model: Any = mlflow.pyfunc.load_model(sys.argv[1])
example = model.input_example
load_s = time.perf_counter() - started
torch = sys.modules.get("torch")
modules = [m for m in gc.get_objects() if torch and isinstance(m, torch.nn.Module)]
weights = {p.data_ptr(): p.nbytes for module in modules for p in module.parameters()}
del modules

first = np.asarray(example[0])
other = first[::-1].copy()  # a second, different input: the first one reversed along an axis
seconds, alone = [], []
for _ in range(int(sys.argv[2])):
    before = time.perf_counter()
    alone.append(model.predict([first]))
    seconds.append(time.perf_counter() - before)
batch = model.predict([other, first])
results = {
    "load_s": load_s,
    "finite": bool(np.isfinite(batch).all() and np.isfinite(alone).all()),
    "norm_error": float(np.abs(np.linalg.norm(batch, axis=-1) - 1).max()),
    "repeat_difference": float(max(np.abs(a - alone[0]).max() for a in alone)),
    "batch_difference": float(np.abs(batch[1] - alone[0][0]).max()),
    "latency_ms": 1000 * statistics.median(seconds),
    "memory_mb": peak_memory_mb(),
    "weights_mb": sum(weights.values()) / 2**20,
}
sys.stdout.write(json.dumps(results) + "\n")
