"""How a step runs: where, on what, and over many shards.

step.py      how a step is declared
runtime.py   store, resources and progress
bulk.py      shards in parallel, with Ray Data or in this process
prefetch.py  an iterator that is read ahead in a thread
"""
