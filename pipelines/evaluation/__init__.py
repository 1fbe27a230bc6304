"""evaluation: what the lens perceives of objects it has never seen."""
