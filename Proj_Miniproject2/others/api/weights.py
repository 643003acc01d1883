"""Which weights denoise, and how their networks want to see pictures."""

from ..formats.files import load
from ..networks import NETWORKS
from ..noise.ranges import is_even, range_of, seen_of

VIEWS_BEFORE = 2  # of the networks for photos, up to commit 1f0b087


def chosen(network=None, weights=None, views=None):
    """The models for colours with independent noise and for all else; with a network or weights, one for both."""
    if network or weights:
        model = trained(network or "photo", weights)
        if weights and not (model.even or model.seen) and getattr(model, "VIEWS", VIEWS_BEFORE) < VIEWS_BEFORE:
            model.VIEWS = VIEWS_BEFORE  # people's own go on as they did
        return [seeing(model, views)] * 2
    return [seeing(trained(name), views) for name in ("photo", "camera")]


def seeing(model, views=None):
    """The model, which takes the mean over so many views of a picture; where None, as many as it is made for.
    ValueError for one that sees a picture only as it stands."""
    if views is not None:
        if not hasattr(model, "VIEWS"):
            able = ", ".join(name for name, kind in NETWORKS.items() if hasattr(kind, "VIEWS"))
            raise ValueError(f"this network sees a picture only as it stands: --views goes with {able}")
        model.VIEWS = views
    return model


def trained(network, path=None):
    """The model of that name in `NETWORKS`, with the weights of a file, or those shipped, and what the file says of
    how its network sees pictures, see `ranges.with_about`: `range`, `seen` and `even`.

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
    try:
        state = load(path, "cpu")
        model.range, model.seen, model.even = range_of(state), seen_of(state), is_even(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return model


def fits(kind, path):
    """Whether a file holds weights of that class of models."""
    try:
        kind().load_weights(path)
    except ValueError:
        return False
    return True
