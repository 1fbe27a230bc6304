"""The registered models: versions, gates, promotion, lineage.

models.py          versions of registered models, in MLflow
acceptance.py      the four tiers a challenger must pass
gates/             what is asked in them, one module each
promotion.py       which version is champion, and who made it so
lineage.py         where a version comes from, and how two differ
tracking.py        one evaluated lens as one MLflow run
package.py         the lens as a folder that MLflow loads; card.py is its model card
"""
