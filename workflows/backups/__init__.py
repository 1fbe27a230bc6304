"""backups: copies of the databases, of the models' files and of the home's keys; their way back.

making.py      `vitlens backup`: makes a folder of copies, and removes older ones
restoring.py   `vitlens restore`: puts a backup in the place of what is there
contents.py    what a backup holds, and how it is compared with its checksums
places.py      where it comes from: databases, models' files, keys
postgres.py    the dump of a database of Postgres, and its way back;  sqlite.py  of a home's
last.py        the note of the last backup, for the exporter
guards.py      one backup or restore at a time in a folder; files for this user only

Reads     the databases of MLflow and Dagster: those given by URL (Postgres), or else the home's
          own (SQLite); the files of registered models, wherever fsspec reads them; the home's
          `keys/` and `notices.yaml`.
Writes    a folder `<time>/` with a dump per database, `files/`, `home/` and `backup.json`, for this
          user only; until it is whole it is called `<time>.unfinished/`. In the store's root
          `last_backup.json`, for the exporter.
Promises  a restore checks every file first, and then replaces each database as a whole. Killed in
          the middle, it is run again. The store's artifacts are not copied: a run makes them again.
"""
