"""targets: the frozen foundation's embeddings of every view and caption, computed once."""
