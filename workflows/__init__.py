"""The order: Dagster definitions, what starts them, and the `vitlens` command.

modalities/    one defs.yaml per modality: profiles, gates, schedule, sensor, pieces
spec.py        what such a file states;  axes.py  what a sweep can vary
flow.py        the steps in order, and how each is called;  current.py  whether all are made
definitions.py   components.py   artifact_io.py   metadata.py   settings.py   what Dagster sees
automation.py    backfill.py     schedules and sensors; data sets built in pieces
cli.py         the command: runner.py (run), sweep.py, models.py (promote, compare, …),
               benchmark.py, serve.py, servers.py (ui), scaffold.py (new), status.py, verify.py
home.py        folders of a machine;  preflight.py, runs.py  before a run
               console.py, summary.py  what the terminal shows
templates/     the three files of a new modality

No science: a step loads its settings, calls a job of `pipelines` and reports.
"""
