"""One API for people: load a model, embed any of its modalities, compare and combine.

model = vitlens_core.load("lens.safetensors", foundation="open_clip:ViT-L-14/…")
embeddings = model.encode({"point_cloud": ["chair.glb"], "text": ["a chair", "a lamp"]})
model.calibrated(model.similarity(embeddings["point_cloud"], embeddings["text"]))

model.py       Model: load, encode, similarity, fuse, calibrated
asking.py      answers, and how signals become the parts of a question
verbs.py       ask, detect, imagine
loading.py     opens sources as encoders
inputs.py      what is asked for: lists of inputs, and options of their readers
encoders.py    one modality's way from raw input to unit-norm embeddings
lenses.py      models from our own lens checkpoints
published.py   models from the published checkpoints of ViT-Lens and its OpenShape variant
imagebind.py   models from the published checkpoint of ImageBind
pretrained.py  a lens as a folder in the hub's conventions
recognising.py tells what kind of checkpoint a file is
"""

from vitlens_core.api.model import Calibrated, Model

__all__ = ["Calibrated", "Model", "load"]

load = Model.load
