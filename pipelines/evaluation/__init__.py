"""evaluation: measures the lens on held-out samples."""
