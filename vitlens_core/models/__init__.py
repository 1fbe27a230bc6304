"""Towers: a modality's signal in, an embedding of the foundation's space out.

    tokenizers/ ─▶ lens ─▶ trunk (frozen) ─▶ head

tower.py              builds a tower of these parts from its settings
lens.py   trunk.py    head.py   points.py (neighbourhoods)   attention.py   parameters.py
vit.py    text.py     CLIP's transformers
reference.py          the published ViT-Lens and ImageBind towers
imagebind.py          ImageBind's parts; its first layers are in imagebind_inputs.py
reference_config.py   the schema of the published sizes; published.py holds the sizes
weights.py            reads published weights and loads them strictly
"""
