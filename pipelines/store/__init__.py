"""What every step reads and writes: artifacts, their files and shards.

artifacts.py     an artifact, its manifest and fingerprint
artifact_store.py  the store they lie in, and those that are being made
files.py         whole files or none; errors of disks and stores
shards.py        WebDataset tars of samples; `tar_index.py` finds the files in one
splits.py        train, val, test: how each is ranked and cut into shards
pieces.py        ranges of shards, for data sets that are built piece by piece
locks.py         one process of a home at a time
text.py          secrets and control characters taken out of text
home.py          where a machine keeps what vitlens makes
folder_state.py  whether a folder has changed
"""
