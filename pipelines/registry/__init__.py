"""registry: registered models: versions, gates, promotion, lineage.

models.py          registers lenses as versions of a model in MLflow; server.py connects to it
version.py         one version, as its tags state it
own_store.py       the tables and files of a home, wherever it lies now
signing.py         signs versions and the results of their gates
acceptance.py      checks a challenger in four tiers
gates/             the gates of these tiers, one module each
archive.py         a version as one file, exported and imported
promotion.py       makes versions champion;  moves.py is the log of who did so
lineage.py         traces a version, and compares two;  links.py lets its pages name each other
tracking.py        logs an evaluated lens as one MLflow run;  loggers/  follow its training
package.py         writes the lens as a folder that MLflow loads; card.py writes its model card
"""
