"""Reads files as raw arrays, with one module per kind of file.

    arrays      npy, npz, csv            any numbers
    pictures    PNG, JPEG, TIFF, …       RGB, grey levels, integer depth
    videos      MP4, WebM, GIF, …        RGB frames
    sounds      WAV, FLAC, OGG, MP3      mono waveform and its rate
    clouds      npy, npz, PLY, GLB       xyz and rgb

Videos, sounds, PLY and GLB need `pip install 'vitlens[files]'`; importing this package does not.
Nothing is guessed: the caller must state a unit or rate that a file does not hold. A file that is
missing, empty, damaged or of another kind raises `InputError`.
"""
