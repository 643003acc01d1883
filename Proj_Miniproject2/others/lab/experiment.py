"""A `Run` carried out: a new model is trained on photos or shots, and measured on those set aside."""

import math
from dataclasses import replace
from functools import partial

import torch

from ..formats.files import load
from ..networks import take_common_channels, turned
from ..noise.kinds import gaussian_noise
from ..noise.metrics import psnr
from ..pairs.photos import PairStream, random_crops, split
from ..pairs.singles import singles
from ..pairs.sources import CROP, camera, correlated, grey, shots
from ..pairs.sources import clean as with_clean
from ..training.by_recipe import fingerprint
from ..training.processes import check_alike, joined, mean, own, processes, rank

VALIDATION_PAIRS, VALIDATION_SEED = 1000, 123
VALIDATION_CROPS = 300  # of `grey` and `correlated`
VALIDATION_SHOTS = 100  # of `shots` and `singles`, whose trainings are short
NOISY_SHARE = 0.25  # of the targets in self-distillation


def turned_prediction(model, images, generator):
    """What the model makes of (N, 3, S, S) that are turned and mirrored at random, and turned back: float32.

    All of its draws together have the mean of the predictions over the image's eight symmetries.
    """
    parts = []
    for part in images.split(500):
        turns, mirrored = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        parts.append(turned(model.predict, part, turns, mirrored))
    return torch.cat(parts)


def validation(photos, run):
    """(noisy, clean) of photos set aside: as the course made them, or for a camera's noise with sigma = 25, or with all
    the noises of `grey` or `correlated`. Of one's own pictures set aside there is no clean image: another shot stands
    for it, or the pixels beside, whose noise bounds the PSNR; where both are the same, as what is saturated, masked or
    empty is, there is none to tell how good a network is."""
    if run.source in (shots, singles):
        noisy, other = run.source(photos, replace(run, pairs=min(run.pairs, VALIDATION_SHOTS)))(VALIDATION_SEED)
        differ = (noisy != other).flatten(1).any(1)
        return (noisy[differ], other[differ]) if bool(differ.any()) else (noisy, other)
    if run.source in (grey, correlated):
        return run.source(photos, replace(run, pairs=VALIDATION_CROPS))(VALIDATION_SEED, clean=True)
    if run.source is camera:
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        clean = random_crops(photos, VALIDATION_PAIRS, CROP, generator)
        return gaussian_noise(clean, 25, generator), clean
    noisy, _, clean = PairStream(photos).draw_with_clean(VALIDATION_PAIRS, VALIDATION_SEED)
    return noisy, clean


def predicted(model, images):
    """As `Model.predict`, but neither checked nor clamped: of noise that was made even, and of measured pictures."""
    output = torch.empty_like(images)
    for place, piece in model.pieces(images):
        output[place] = piece
    return output


def known_by(photos):
    """By what results and checkpoints know their photos (or lists of shots) again: their number and a digest."""
    sizes = torch.tensor([len(photo) if isinstance(photo, list) else 0 for photo in photos])
    images = [image for photo in photos for image in (photo if isinstance(photo, list) else [photo])]
    return f"{len(photos)}, {fingerprint(sizes, *images)}"


def start_from(model, path):
    """Give the model the weights of a file, of its own network or of one with other widths, as far as both have the
    channels. Raises as `Model.load_weights`."""
    state, expected = load(path, model.device), "the weights neither of this network nor of one with other widths"
    try:
        take_common_channels(model.network, state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds {expected}: {error!s:.500}") from error


def alone(model):
    """The model, whose `predict` now shows what the network alone makes: several views would take as many times."""
    model.VIEWS = 1
    return model


def train(photos, run, checkpoint=None, minutes=None):
    """Train a new model, and measure it on the photos set aside. For the source `shots` the photos are lists of shots.

    With `run.distill_epochs` a second training follows, at half the learning rate: a quarter of its targets are the
    noisy ones, the rest what the first one's weights make of the inputs, turned at random. Its checkpoint is beside
    the first's, with ".distill" after its name.

    minutes: how long to train, instead of the recipe's epochs. Stopped by Ctrl-C, and without a checkpoint to go on
    from, it returns the best weights so far, and the results say that it was "stopped".

    Returns (model, results), the results a dict for JSON; its curve and its seconds go back to the first start, if
    there is a checkpoint. Under `processes.group` each process trains on pairs of its own, and all return the same.
    """
    if minutes is not None and (run.distill_epochs or processes() > 1):
        raise ValueError("minutes go with a single process, and without distill_epochs")
    training, held_out = split(photos)
    about = {"photos": known_by(photos), **run.describe()}  # with this a checkpoint of other photos is refused
    check_alike(about)
    torch.manual_seed(run.seed)
    model = alone(joined(run.model_class)())
    model.loss = run.loss()
    if run.init:
        run.init(model.network)
    if run.start:
        start_from(model, run.start)
    both_noisy = run.source is not with_clean and run.targets == 1  # input and target, alike
    recipe = run.recipe if both_noisy else replace(run.recipe, exchange=False)
    draw = run.source(training, own(run))
    noisy, clean = validation(held_out, run)
    predict = partial(predicted, model) if noisy.is_floating_point() else model.predict
    history, second_history = {"psnr": {}, "seconds": 0.0}, {"seconds": 0.0}  # the PSNR before the epoch of a number
    best = [-math.inf, None]  # the PSNR, and the weights that have it

    def score(epoch):
        mine = slice(rank(), None, processes())
        value = history["psnr"][epoch] = mean(psnr(predict(noisy[mine]), clean[mine]), len(noisy[mine]))
        print(f"{epoch * run.pairs} pairs seen: {value:.2f} dB", flush=True)  # `plot` reads it
        if value > best[0]:
            best[:] = value, model.network.state_dict()
        return value

    def watched(epoch):
        score(epoch)  # of the weights as they are, without the average
        return draw(epoch)

    options = {"seed": run.seed, "about": about}
    stopped = False
    try:
        losses = model.fit(watched, recipe=recipe, checkpoint=checkpoint, history=history, minutes=minutes, **options)
    except KeyboardInterrupt:
        if checkpoint or processes() > 1 or best[1] is None:
            raise
        losses, stopped = history["losses"], True
        for parameter in model.network.param():
            parameter.copy_(parameter.state.get("average", parameter.value))
        if not psnr(predict(noisy), clean) > best[0]:
            model.network.load_state_dict(best[1])
    if run.distill_epochs and not stopped:
        teacher = alone(run.model_class())
        teacher.network.load_state_dict(model.network.state_dict())

        def teach(epoch):
            noisy, target = draw(recipe.num_epochs + epoch)
            taught = turned_prediction(teacher, noisy, torch.Generator().manual_seed(epoch))
            return noisy, taught.lerp_(target.float(), NOISY_SHARE)

        second = replace(recipe, num_epochs=run.distill_epochs, lr=recipe.lr / 2, exchange=False)
        checkpoint = checkpoint and f"{checkpoint}.distill"
        model.fit(teach, recipe=second, checkpoint=checkpoint, history=second_history, **options)
    result = score(max(losses, default=0) + run.distill_epochs)
    curve = [
        {"pairs": epoch * run.pairs, "loss": losses.get(epoch), "psnr": round(value, 3)}
        for epoch, value in history["psnr"].items()
    ]
    return model, {
        "psnr": round(result, 3),
        "noisy_psnr": round(psnr(noisy, clean), 3),
        "seconds": round(history["seconds"] + second_history["seconds"]),
        "threads": torch.get_num_threads(),
        "processes": processes(),
        **about,
        **({"stopped": True} if stopped else {}),
        "curve": curve,
    }
