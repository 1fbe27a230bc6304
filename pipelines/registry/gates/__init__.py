"""Gates that a challenger must pass, one module each, found by name (`kind` in a YAML's `gates`).

A new gate is a new module here with one subclass of `base.Gate`, and an entry in the YAML of the
modalities it is for. Settings are checked without torch or MLflow, so a module imports what it
needs beyond numpy when it checks.
"""
