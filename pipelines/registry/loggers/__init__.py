"""Where figures go while a lens is trained, one module each, found by name (`tracking.loggers`).

A new logger is a new module here with one subclass of `base.LoggerConfig`, and its name in the
settings. The driver alone talks to loggers: figures of Ray's workers come to it.
"""
