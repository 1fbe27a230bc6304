"""Plans a run at its full size without doing any of it: `vitlens plan`.

listing.py    what would be listed and divided: objects by split
network.py    the tower on the meta device: parameters, FLOPs and memory of a training step
estimate.py   samples, bytes, hours and cost, from `slopes.yaml` or a file of one's own
missing.py    what is not at hand: weights, space, GPUs, data
plan.py       all of it as one record
"""
