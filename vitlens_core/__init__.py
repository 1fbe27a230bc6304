"""The science of vitlens: rendering and sampling, modalities, towers, lens, foundation.

    rendering/    GLB → views, metric depth, surface points
    modalities/   one file per modality: preparation, augmentation, tokenizer
    models/       tokenizers, lenses, trunk, tower; the published towers
    foundation/   the frozen dual encoder that defines the embedding space
    captions.py   losses.py   metrics.py   checkpoint.py   errors.py

Installs without Ray, MLflow or Dagster, and knows nothing of them.
"""
