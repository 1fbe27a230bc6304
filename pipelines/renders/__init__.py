"""renders: renders every object to views, depth and surface points."""
