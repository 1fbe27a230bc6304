"""gates: the gates that a challenger must pass, one module each (`kind` in a YAML's `gates`).

A new gate is a new module here, found by its name, with one subclass of `base.Gate`, and an entry
in the YAML of its modalities. Settings are checked without torch or MLflow, so a module imports
what it needs beyond numpy inside `check`.
"""
