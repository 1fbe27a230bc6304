"""One folder per modality; its `defs.yaml` is all its workflow needs."""
