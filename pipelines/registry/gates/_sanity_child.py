"""The consumer's process of `sanity`: a script that knows MLflow and the model alone.

python _sanity_child.py MODEL_FOLDER REPEATS      one line of JSON on standard output
"""

import json
import resource
import statistics
import sys
import time
from typing import Any

import numpy as np

started = time.perf_counter()
import mlflow  # noqa: E402  what loading costs is measured

model: Any = mlflow.pyfunc.load_model(sys.argv[1])
example = model.input_example
load_s = time.perf_counter() - started

first = np.asarray(example[0])
other = first[::-1].copy()  # another input of the same kind: its first axis reversed
seconds, alone = [], []
for _ in range(int(sys.argv[2])):
    before = time.perf_counter()
    alone.append(model.predict([first]))
    seconds.append(time.perf_counter() - before)
batch = model.predict([other, first])
found = {
    "load_s": load_s,
    "finite": bool(np.isfinite(batch).all() and np.isfinite(alone).all()),
    "norm_error": float(np.abs(np.linalg.norm(batch, axis=-1) - 1).max()),
    "repeat_difference": float(max(np.abs(a - alone[0]).max() for a in alone)),
    "batch_difference": float(np.abs(batch[1] - alone[0][0]).max()),
    "latency_ms": 1000 * statistics.median(seconds),
    "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
sys.stdout.write(json.dumps(found) + "\n")
