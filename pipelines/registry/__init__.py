"""The registered models: versions, gates, promotion, lineage.

models.py          versions of registered models, in MLflow
acceptance.py      the four tiers a challenger must pass
gates.py           thresholds on figures (tier 1)
sanity.py          whether it works for whoever loads it (tier 0)
noninferiority.py  whether it may replace the champion (tier 2)
promotion.py       which version is champion, and who made it so
lineage.py         where a version comes from, and how two differ
tracking.py        one evaluated lens as one MLflow run
package.py         the lens as a folder that MLflow loads; card.py is its model card
"""
