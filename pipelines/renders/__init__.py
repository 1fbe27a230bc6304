"""renders: every object as views, depth and surface points."""
