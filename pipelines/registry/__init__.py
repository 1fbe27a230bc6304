"""registry: registered models: versions, gates, promotion, lineage.

own_store.py       the tables and files of a home, wherever it lies now
models.py          registers lenses as versions of a model in MLflow
server.py          whether a tracking server answers
acceptance.py      checks a challenger in four tiers
gates/             the gates of these tiers, one module each
archive.py         a version as one file, exported and imported
promotion.py       makes versions champion, and keeps the history
lineage.py         traces a version, and compares two
tracking.py        logs an evaluated lens as one MLflow run;  loggers/  follow its training
package.py         writes the lens as a folder that MLflow loads; card.py writes its model card
"""
