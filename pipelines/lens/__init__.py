"""lens: the trained tokenizer and lens of a modality.

job.py         the step; settings.py has the settings of its training
training.py    the loop, as every worker runs it
workers.py     who runs it: this process, or the workers of Ray Train
parallel.py    replicas or shards of a tower; checkpoints of either
batches.py     batches from shards; shard_table.py reads their arrays in place
negatives.py   targets of other samples as further negatives
optimizer.py   what is trained, by which optimizer and rate
not_finite.py  which samples made a loss that is not finite
"""
