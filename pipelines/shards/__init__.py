"""shards: makes the paired samples of a modality for training and evaluation."""
