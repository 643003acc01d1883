"""Training pairs from one's own shots: two or more photos of each of several scenes, taken from the same place.

Noise2Noise needs no more: the scene is the same, the noise is another. The shots of a scene must show it pixel for
pixel alike (a tripod, or burst mode) and have one size.
"""

from itertools import combinations
from pathlib import Path

import torch

from .photos import read_photo
from .pictures import photo_paths
from .progress import progress


def read_scenes(folders):
    """The shots of each scene: a list of lists of uint8 tensors (3, H, W), in the order of the scenes' names.

    folders: two or more that hold the first, the second, ... shot of every scene under the same file names; or one with
    a subfolder for each scene. Raises ValueError for a scene with a single shot, with shots of different sizes or with
    the same one twice, for what can't be read, and for fewer than two scenes.
    """
    scenes = {}
    for folder in map(Path, folders):
        for path in photo_paths(folder):
            # With one folder a scene is a subfolder, else a file name.
            scene = path.parent if len(folders) == 1 else path.relative_to(folder)
            scenes.setdefault(str(scene), []).append(path)
    if len(scenes) < 2:
        raise ValueError(f"expected at least two scenes, to train and to validate on, got {len(scenes)}")
    for name, paths in scenes.items():
        if len(paths) < 2:
            raise ValueError(f"the scene {name} has a single shot, {paths[0]}: each needs two or more")
    return [read_shots(name, paths) for name, paths in progress(sorted(scenes.items()), desc="scenes")]


def read_shots(name, paths):
    """The shots of the scene of that name; errors as for `read_scenes`."""
    images = []
    for path in paths:
        try:
            images.append(read_photo(path))
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            raise ValueError(f"the shot {path}: {error}") from error
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"the shots of the scene {name} have different sizes (height, width): {sorted(sizes)}")
    for (one, image), (other, same) in combinations(zip(paths, images, strict=True), 2):
        if torch.equal(image, same):
            raise ValueError(f"{one} and {other} are the same picture, with the same noise: expected different shots")
    return images
