"""How a step runs: where, on what, and over many shards.

step.py      how a step is declared
runtime.py   store, resources, progress and loggers
logger.py    reports the figures of a training to loggers while it runs
bulk.py      makes shards in parallel, with Ray Data or in this process
shard_tasks.py, shard_writer.py  tasks and records; what a worker does with a task
told.py, faults.py  errors of workers as text; which of them may be gone later
remote.py    runs a whole job as one Ray task
cluster.py   joins a Ray cluster, or starts a local Ray that nobody else can use
worker_env.py  what the workers of a joined cluster receive: code and some variables
prefetch.py  makes the next items in threads
"""
