"""Files to raw arrays, one module per kind of file.

    arrays      npy, npz, csv            any numbers
    pictures    PNG, JPEG, TIFF, …       RGB, grey levels, integer depth
    videos      MP4, WebM, GIF, …        RGB frames
    sounds      WAV, FLAC, OGG, MP3      mono waveform and its rate
    clouds      npy, npz, PLY, GLB       xyz and rgb

Videos, sounds, PLY and GLB need `pip install 'vitlens[files]'`; importing this does not.
Nothing is guessed: a unit or rate that a file does not state is asked for. A file that is
missing, empty, damaged or of another kind raises `InputError`.
"""
