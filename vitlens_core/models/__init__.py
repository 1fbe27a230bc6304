"""Towers: a modality's signal in, an embedding of the foundation's space out.

    tokenizers/ ─▶ lens ─▶ trunk (frozen) ─▶ head

tower.py              these put together, from settings
lens.py   trunk.py    head.py   points.py (neighbourhoods)   attention.py   parameters.py
vit.py    text.py     CLIP's transformers
reference.py          the published ViT-Lens and ImageBind towers; imagebind.py, imagebind_inputs.py
                      ImageBind's parts; reference_config.py, published.py  their sizes
weights.py            published weights, read and put in strictly
"""
