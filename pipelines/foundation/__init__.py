"""foundation: the frozen dual encoder that defines the embedding space."""
