"""How a step runs: where, on what, and over many shards.

step.py      how a step is declared
runtime.py   store, resources, progress and loggers
logger.py    figures of a training, told to loggers while it goes on
bulk.py      shards in parallel, with Ray Data or in this process
prefetch.py  an iterator that is read ahead in a thread
"""
