"""loggers: receivers of the figures of a training, one module each (`tracking.loggers`).

A new logger is a new module here, found by its name, with one subclass of `base.LoggerConfig`, and
its name in the settings. Only the driver calls loggers; Ray's workers send it their figures.
"""
