"""Draws what a signal means, by a diffusion decoder that was trained on CLIP's image embeddings.

    drawn = model.imagine({"audio": "rain.wav", "image": "street.jpg"}, weights={"audio": 0.5},
                          by=open_decoder("stabilityai/stable-diffusion-2-1-unclip", foundation))

table.py       which decoder fits which foundation
decoders.py    unCLIP, Kandinsky 2.2 and IP-Adapter
sheet.py       found pictures side by side
statistics.py  the length and mean of a foundation's image embeddings, which decoders expect
"""

from vitlens_core.plugins.imagine.decoders import Decoder, open_decoder
from vitlens_core.plugins.imagine.statistics import ImageStatistics

__all__ = ["Decoder", "ImageStatistics", "open_decoder"]
