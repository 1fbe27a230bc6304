"""What modalities share: checks of arrays, resampling, pictures, spectrograms.

checks.py        checks arrays; messages say what was found and what was expected
pictures.py      resizing, cropping, turning
series.py        resampling and cutting along time
spectrograms.py  waveforms to log-mel spectrograms, SpecAugment
"""
