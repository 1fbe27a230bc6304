"""Lenses inside other models, which stay as they were published: nothing of them is trained.

    ask/      a question model answers about a signal: its image encoder is replaced by a lens
    detect/   a detector finds what a signal means in a picture
    imagine/  a diffusion decoder draws what a signal means

Each adapter is one small file. transformers and diffusers are imported when a model is opened.
"""
