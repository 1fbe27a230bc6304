"""What modalities share: checked arrays, resampling, pictures, spectrograms.

settings.py      the interface of a modality's tokenizer settings
checks.py        arrays refused with what was found and what was expected
pictures.py      resizing, cropping, turning
series.py        resampling and cutting along time
spectrograms.py  waveforms to log-mel spectrograms, SpecAugment
"""
