"""source: any other data set, listed and divided.

base.py      what every data set offers: `SourceSettings` and `Pair`
datasets/    data sets in their published layouts, one module each
made_up/     the same layouts with generated content, for tests and demos
clips.py     what data sets of clips share
"""
