"""objects: fetches the selected GLBs of a mirror, checked, with their annotations."""
