"""The jobs: one folder per step; `step.py` says what it is, `job.py` does it.

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
| benchmarks | torch     | public data sets by their protocols, if there  |
| index      | Ray Data  | every sample's vectors, to be searched         |

store/ and execution/ carry every step; config.py has the settings of a run, flow.py the order of
its steps. registry/ turns an evaluated lens into a version and its gates into a champion; report/,
sweep/ and service/ show it to people and programs.

Shards keep their names from objects to targets, so that every step is a map over shards
and a killed job goes on at the shards that are missing. Nothing here knows Dagster.
"""
