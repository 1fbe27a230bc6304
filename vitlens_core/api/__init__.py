"""One API for people: load a model, embed any of its modalities, compare and combine.

model = vitlens_core.load("lens.safetensors", foundation="open_clip:ViT-L-14/…")
found = model.encode({"point_cloud": ["chair.glb"], "text": ["a chair", "a lamp"]})
model.calibrated(model.similarity(found["point_cloud"], found["text"]))

model.py       Model: load, encode, similarity, fuse, calibrated
loading.py     from sources to encoders
encoders.py    one modality's way from raw input to unit-norm embeddings
lenses.py      models from our own lens checkpoints
published.py   models from the published checkpoints of ViT-Lens and its OpenShape variant
imagebind.py   models from ImageBind's
pretrained.py  a lens as a folder in the hub's conventions
sources.py     where a source lies and what it is
"""

from vitlens_core.api.model import Calibrated, Model

__all__ = ["Calibrated", "Model", "load"]

load = Model.load
