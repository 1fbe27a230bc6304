"""index: makes every sample of the corpus searchable by an embedding of any modality."""
