"""objects: the selected GLBs of a mirror, whole and checked, with their annotations."""
