"""exporter: figures of a team's work for Prometheus, read from where they are kept.

Reads     manifests and records of the store, the registry, MLflow's running trainings, Dagster's
          runs, the last backup. Steps and workers need no address of Prometheus: what they leave
          is read.
Promises  a source that cannot be read is reported (`vitlens_source_up` 0) and keeps its last
          figures; the other sources go on.

store.py       what steps made and are making
registry.py    versions, champions, gates; trainings that run now
runs.py        Dagster's runs by state
backups.py     the last finished backup
collector.py   reads all of them in turn and serves the last figures
opening.py     the collector of a workplace
"""
