"""lens: trains the tokenizer and the lens of a modality.

job.py         the step; settings.py has the settings of its training
training.py    the training loop of one worker
workers.py     runs the loop in this process, or in workers of Ray Train
parallel.py    replicates or shards a tower; saves and loads checkpoints
batches.py     makes batches from shards; shard_table.py reads their arrays in place
objective.py   the loss; negatives/ gives it targets of other samples as further negatives
optimizer.py   the trained parameters, their optimizer and learning rate
validation.py  embeds the validation split;  curves.py  the losses as stored
not_finite.py  names the samples of a loss that is not finite
"""
