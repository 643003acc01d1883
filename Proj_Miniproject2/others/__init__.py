"""The rooms around the textbook, `model.py`, which needs none of them.

    __main__.py    the command `noise2noise`
    commands/      what people use: denoise, train, evaluate, plot, pairs, export, and ablate
    lab/           what made the shipped weights: the named runs and the studies
    training/      recipes, optimisers, losses, initialisations, checkpoints, several processes
    data/          pictures in and out, and where pairs come from: photos, shots, noises, drawn scenes
    fast/          convolutions in less time
    denoising.py   pictures in memory, denoised: the public `denoise`
    exporting.py   networks for others, of torch.nn and as ONNX: the public `to_torch`
    networks.py    larger networks, of the blocks of `model.py` alone

Each imports from those below it only.
"""
