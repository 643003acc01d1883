"""The rooms around the textbook, `model.py`, which needs none of them.

    __main__.py    the command `noise2noise`, and helping.py its `--help`
    commands/      what people use: denoise, train, evaluate, plot, pairs, export, and ablate
    api/           what people call from Python: pictures in memory denoised, networks for others (torch.nn, ONNX)
    lab/           what made the shipped weights: the named runs and the studies
    training/      recipes, optimisers, losses, initialisations, checkpoints, several processes
    pairs/         where a training's pairs come from: photos, drawn scenes, shots, single pictures
    noise/         what noise is: drawn, measured, made even
    formats/       how pictures and other files are kept
    fast/          convolutions in less time
    networks.py    larger networks, of the blocks of `model.py` alone

Each imports from those below it only.
"""
