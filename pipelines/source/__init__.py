"""source: lists a data set of recordings and divides it into splits.

base.py      the interface of a data set: `SourceSettings` and `Pair`
datasets/    data sets in their published layouts, one module each
made_up/     the same layouts with generated content, for tests and demos
clips.py     helpers for data sets of clips
"""
