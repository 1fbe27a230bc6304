"""negatives: samplings of further negatives, one module each (`lens.train.negatives`).

A new sampling is a new module here, found by its name, with one subclass of
`base.NegativeSampling`: its settings, and what it reads once before training. Settings are checked
without torch, so a module takes torch from `vitlens_core.late`.
"""
