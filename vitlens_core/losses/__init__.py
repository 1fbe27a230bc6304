"""Losses that a lens is trained by, one module each, found by name (`lens.train.loss`).

A new loss is a new module here with one subclass of `base.Loss`: its settings, the parameters it
trains itself, and what it makes of pairs. Settings are checked without torch, so a module takes
torch from `vitlens_core.late`.
"""
