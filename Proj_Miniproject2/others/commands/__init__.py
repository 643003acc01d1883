"""The commands of `noise2noise`: each is a module with `add_arguments`, `main`, and a docstring that is its help.

Here is what several of them do.
"""

from ..data.pictures import photo_paths
from ..networks import NETWORKS


def trained(network, path=None):
    """The model of that name in `NETWORKS`, with the weights of a file, or those shipped.

    Raises as `Model.load_weights`, and says whose weights they are if those of another of the networks.
    """
    model = NETWORKS[network]()
    path = path or model.PRETRAINED
    try:
        model.load_weights(path)
    except ValueError as error:
        fitting = [name for name, kind in NETWORKS.items() if fits(kind, path)]
        if not fitting:
            raise
        raise ValueError(f"{path} does not hold the weights of this network: try --network {fitting[0]}") from error
    return model


def fits(kind, path):
    """Whether a file holds weights of that class of models."""
    try:
        kind().load_weights(path)
    except ValueError:
        return False
    return True


def pictures_in(*folders):
    """The pictures that are read from folders, for `check_outputs`; of None there are none. What can't be read is left
    to who reads it."""
    return [path for folder in folders if folder for path in photo_paths(folder, onerror=lambda error: None)]


def add_overwrite(parser):
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there already.")
