"""targets: computes the frozen foundation's embeddings of every view and caption, once."""
