"""lens: trains the tokenizer and the lens of a modality.

job.py         the step; settings.py has the settings of its training
training.py    the training loop of one worker
workers.py     runs the loop in this process, or in workers of Ray Train
parallel.py    replicates or shards a tower; saves and loads checkpoints
batches.py     makes batches from shards; shard_table.py reads their arrays in place,
               target_arrays.py one target of each sample or all
objective.py   the loss; gathered_targets.py gathers targets of all workers, negatives/ adds others
optimizer.py   the trained parameters, their optimizer and learning rate
validation.py  embeds the validation split;  curves.py  the losses as stored
not_finite.py  names the samples of a loss that is not finite
"""
