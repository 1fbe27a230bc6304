"""The names of the files in a model's folder."""

LENS_FILE = "lens.safetensors"
PRETRAINED_FILE = "model.safetensors"  # a lens in a folder of the hub's conventions
FOUNDATION_FILE = "foundation.json"
PROJECTIONS_FILE = "projections.safetensors"  # of a `lit` foundation
CALIBRATION_FILE = "calibration.json"
PROTOTYPES_FILE = "prototypes.safetensors"  # of classes, where the foundation has no words
CARD_FILE = "README.md"
