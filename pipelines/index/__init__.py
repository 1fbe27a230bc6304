"""index: every sample of the corpus, to be found by an embedding of any modality."""
