"""The jobs: one folder per step; `step.py` declares the step, `job.py` does the work.

    objects ─▶ renders ─┐
                        ├─▶ shards ─▶ targets ─▶ lens ─▶ evaluation ─▶ registered model
    source ─────────────┘     └─▶ foundation ─┘          ├─▶ benchmarks  (challenger → champion)
                                                         └─▶ index

| artifact   | made by   | holds                                          |
|------------|-----------|------------------------------------------------|
| objects    | Ray Data  | selected GLBs and their annotations, split     |
| renders    | Ray Data  | views, metric depth, surface points            |
| source     | driver    | any other data set, listed and divided         |
| shards     | Ray Data  | paired samples: signal, images, captions       |
| foundation | Ray Data  | the frozen dual encoder, resolved or fitted    |
| targets    | Ray Data  | its embeddings of every view and caption       |
| lens       | Ray Train | trained tokenizer and lens                     |
| evaluation | torch     | zero-shot, retrieval, confusion, intervals     |
| benchmarks | torch     | figures of public data sets that are mounted   |
| index      | Ray Data  | every sample's vectors, to be searched         |

Every step builds on store/ and execution/; config.py has the settings of a run, flow.py the order
of its steps. registry/ registers an evaluated lens as a version, checks its gates and promotes it
to champion; report/, sweep/ and service/ show it to people and programs.

Shards keep their names from objects to targets, so that every step is a map over shards
and a killed job goes on at the missing shards. Nothing here knows Dagster.
"""
