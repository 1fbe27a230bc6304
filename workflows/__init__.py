"""The order: Dagster definitions, what starts them, and the `vitlens` command.

modalities/    one defs.yaml per modality: profiles, gates, schedule, sensor, pieces
spec.py        reads such a file;  current.py  tells whether a run would find everything made
definitions.py   components.py   artifact_io.py   metadata.py   settings.py   what Dagster sees
automation.py    backfill.py     schedules and sensors; data sets built in pieces
cli.py         the command;  commands/  its subcommands, one module each
runner.py      runs a job;  sweep.py, axes.py  vary one setting;  scaffold.py  adds a modality
preflight.py, processes.py, ports.py, environment.py   checks and set-up before a run
backups/       `vitlens backup` and `vitlens restore`: databases, models' files, keys
reaper.py      ends the servers of a `vitlens ui` that was killed
console.py, summary.py, registered.py, exit_codes.py   what the terminal shows
templates/     the three files of a new modality

There is no science here: an asset loads its settings, calls a job of `pipelines` and reports.
"""
