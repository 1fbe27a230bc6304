"""connector: a small projector from a foundation's images into a frozen language model.

It is no step of the flow: `vitlens connector` makes it of a registered version's artifacts.

settings.py   how it is trained and measured
objects.py    labelled objects of a split, with the foundation's embeddings of their views
naming.py     which class a language model names, by ranked likelihood
training.py   regression as a start, then some steps of language-model loss
job.py        trains one connector a seed; the artifact
figures.py    the types of what is measured
measuring.py  naming by images and by the lens's modality, with its controls
"""
