"""shards: paired samples of a modality, ready for training and evaluation."""
