"""The jobs: one module per artifact, each `run(runtime, *settings, **inputs) -> Artifact`.

    objects ─▶ renders ─┐
                        ├─▶ shards ─▶ targets ─▶ lens ─▶ evaluation ─▶ registered model
    source ─────────────┘     └─▶ foundation ─┘          ├─▶ benchmarks  (challenger → champion)
                                                         └─▶ index

| artifact   | module          | made by   | holds                                          |
|------------|-----------------|-----------|------------------------------------------------|
| objects    | objects.py      | Ray Data  | selected GLBs and their annotations, split     |
| renders    | renders.py      | Ray Data  | views, metric depth, surface points            |
| source     | source.py       | driver    | any other data set, listed and divided         |
| shards     | shards.py       | Ray Data  | paired samples: signal, images, captions       |
| foundation | foundation.py   | Ray Data  | the frozen dual encoder, resolved or fitted    |
| targets    | targets.py      | Ray Data  | its embeddings of every view and caption       |
| lens       | lens.py         | Ray Train | trained tokenizer and lens                     |
| evaluation | evaluation.py   | torch     | zero-shot, retrieval, confusion, intervals     |
| benchmarks | benchmarks/     | torch     | public data sets by their protocols, if there  |
| index      | index.py        | Ray Data  | every sample's vectors, to be searched         |
| model      | registry.py     | MLflow    | versions; staging.py holds their gates,        |
|            |                 |           | promotion.py makes a champion; report/         |

Shards keep their names from objects to targets, so that every step is a map over shards
and a killed job goes on at the shards that are missing. Nothing here knows Dagster.
"""
