"""What a training can be made of beside what `model.py` has: optimisers, schedules, initialisations; the named runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..model import (
    DEFAULT,
    MSE,
    SGD,
    Convolution,
    Module,
    Muon,
    Optimizer,
    Recipe,
    check_int,
    check_kind,
    check_like,
    check_not_negative,
    cosine,
    described,
    fans,
    xavier,
)
from .networks import TRAINABLE, PhotoUNet
from .photos import SEVERAL_TARGETS, camera, clean, fixed, fresh, mixed, varied
from .shots import shots

# ----------------------------------------------------------------------------------------------------------
# Optimisers, as `Recipe.optimizer` takes them


class Adam(Optimizer):
    """Adam with decoupled weight decay, step by step as torch.optim.AdamW (but for the default weight_decay, 0).

    Source: Kingma and Ba, "Adam", 2015, algorithm 1; Loshchilov and Hutter, "Decoupled weight decay
    regularization", 2019, algorithm 2.

    Args:
        params: pairs (tensor, gradient), as `Module.param()` gives them
        lr: the learning rate; may be changed between steps
        betas: how much of the averages of the gradient and of its square stays, each in [0, 1)
        eps: added to the root of the averaged square
        weight_decay: by what part of itself, times lr, a parameter shrinks in every step

    Raises ValueError for numbers out of these ranges, and for no parameters.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        check_not_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        super().__init__(params)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay

    def step(self):
        beta1, beta2 = self.betas
        for parameter in self.params:
            (value, grad), state = parameter, parameter.state
            if "step" not in state:
                state.update(step=0, mean=grad.clone().zero_(), square=grad.clone().zero_())
            state["step"] += 1
            value.mul_(1 - self.lr * self.weight_decay)
            state["mean"].lerp_(grad, 1 - beta1)
            state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            # the averages began at zero, which the two powers correct
            scale = (1 - beta2 ** state["step"]) ** 0.5
            divisor = state["square"].sqrt().div_(scale).add_(self.eps)
            value.addcdiv_(state["mean"], divisor, value=-self.lr / (1 - beta1 ** state["step"]))


class RowMuon(Muon):
    """Muon whose steps are as long in every row, that is, for every feature: sqrt(columns / rows), at most 1.

    So features that the gradient shows less don't lag behind, which tells in short trainings. Source: Li et al.,
    "NorMuon: making Muon more efficient and scalable", 2025, without the memory of the rows' lengths.
    """

    def directions(self, matrices):
        steps = super().directions(matrices)
        for step in steps:
            rows, columns = step.shape
            step *= min(1, columns / rows) ** 0.5 / step.norm(dim=1, keepdim=True).clamp(min=1e-7)
        return steps


def adam(params, lr, weight_decay, momentum):
    """`Adam` with `momentum` as its first beta"""
    return Adam(params, lr, (momentum, 0.999), weight_decay=weight_decay)


def sgd(params, lr, weight_decay, momentum):
    """`SGD`, with Nesterov's momentum where there is any"""
    return SGD(params, lr, momentum, 0, weight_decay, nesterov=momentum > 0)


# ----------------------------------------------------------------------------------------------------------
# A loss


class RelativeMSE(Module):
    """The mean over images of log(mse + FLOOR), for pairs whose noise differs in strength.

    mse is an image's mean squared error. The derivative is the MSE's divided by mse + FLOOR, that is, as targets are
    noisy, by about the variance of the image's noise: each image counts relative to its own noise. Shapes as for MSE,
    with the images first.
    """

    FLOOR = (15 / 255) ** 2

    def forward(self, prediction, target):
        check_kind(self, prediction)
        check_like(self, target, prediction)
        error = prediction.detach() - target.detach()
        floored = error.square().flatten(1).mean(1) + self.FLOOR
        self.keep(error, floored)
        return floored.log().mean()

    def backward(self, gradwrtoutput=1):
        error, floored = self.recall()
        return error * (2 / error.numel()) / floored.view(-1, *[1] * (error.dim() - 1)) * gradwrtoutput


# ----------------------------------------------------------------------------------------------------------
# Schedules, by which the learning rate is multiplied after the part `progress` of the training


def steps(progress):
    """A fifth after a quarter of the training, as the report"""
    return 1 if progress < 0.25 else 0.2


def linear(progress):
    """From 1 down to 0, as fast in the beginning as in the end"""
    return 1 - progress


def constant(progress):
    return 1


# ----------------------------------------------------------------------------------------------------------
# Initialisations of a network, which return it, as `model.xavier`


def uniform(network):
    """torch's default, see `Convolution.reset_parameters`"""
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.reset_parameters()
    return network


def kaiming(network):
    """Weights from N(0, 2 / fan_in), biases of zero (He et al., "Delving deep into rectifiers", 2015)"""
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.weight.normal_(0, (2 / fans(layer)[0]) ** 0.5)
            if layer.bias is not None:
                layer.bias.zero_()
    return network


INITIALISATIONS = {"torch": uniform, "xavier": xavier, "kaiming": kaiming}

# The fields of `Run` and `Recipe` that are functions, and the names by which the command takes them.
FUNCTIONS = {
    "init": INITIALISATIONS,
    "source": {source.__name__: source for source in (fresh, fixed, clean, mixed, varied, camera, shots)},
    "loss": {"mse": MSE, "relative": RelativeMSE},
    "optimizer": {"muon": Muon, "rowmuon": RowMuon, "adam": adam, "sgd": sgd},
    "schedule": {"cosine": cosine, "linear": linear, "steps": steps, "constant": constant},
}

# ----------------------------------------------------------------------------------------------------------
# Runs

# The report's recipe: plain SGD, 0.5 for 10 epochs, then 0.1 for 30.
REPORT = Recipe(
    num_epochs=40, optimizer=sgd, lr=0.5, momentum=0, schedule=steps, warmup=0, weight_decay=0, average=0,
    augment=False, exchange=False, precision="float32",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A training from photos to weights. Raises TypeError or ValueError for values out of range."""

    recipe: Recipe = DEFAULT
    network: str = "report"  # one of `networks.TRAINABLE`
    init: Callable | None = None  # of the network; None for its own
    start: str | None = None  # a file of weights to go on from, instead of `init`
    source: Callable = fresh  # makes `epoch -> (inputs, targets)` of a list of photos, `pairs`, `seed` and `recipe`
    loss: Callable = MSE  # makes the loss
    pairs: int = 50_000  # in an epoch
    # Noisy images of which a target is the mean. The gradient is that of as many pairs which share their input, as the
    # mean loss over them is the loss to their mean and a constant; but they go through the network as one.
    targets: int = 1
    seed: int = 0
    distill_epochs: int = 0  # of self-distillation, afterwards: see `train.train`

    def __post_init__(self):
        check_int("pairs", self.pairs)
        check_int("targets", self.targets)
        if self.targets > 1 and self.source not in SEVERAL_TARGETS:
            *names, last = (source.__name__ for source in SEVERAL_TARGETS)
            names = f"{', '.join(names)} and {last}"
            raise ValueError(f"several targets go with the sources {names}, not with {self.source.__name__}")
        check_int("seed", self.seed, 0, 10**12)
        check_int("distill_epochs", self.distill_epochs, 0)
        if self.network not in TRAINABLE:
            raise ValueError(f"network must be one of {', '.join(TRAINABLE)}, got {self.network!r}")

    @property
    def model_class(self):
        return TRAINABLE[self.network]

    def describe(self):
        """All fields, with the recipe's among them, as a dict of what JSON and checkpoints can hold."""
        values = described(self)
        recipe = described(values.pop("recipe"))
        return values | {"start": self.start and Path(self.start).name} | recipe


# Of trainings that see some 40,000 pairs or fewer; with more the default's is the better schedule.
SHORT = replace(DEFAULT, num_epochs=1, optimizer=RowMuon, lr=0.025, schedule=linear, small_batches=0.25)

# Of networks with skips.
DEEP = replace(DEFAULT, lr=0.01)

PHOTO = Run(
    replace(DEEP, num_epochs=30, batch_size=8, exchange=False),
    network="photo",
    source=camera,
    loss=RelativeMSE,
    pairs=4_000,
)

BEST = Run(
    replace(DEFAULT, num_epochs=24, optimizer=adam, lr=4e-3, momentum=0.9, weight_decay=0.03),
    init=kaiming,
    distill_epochs=8,
)

RUNS = {
    "default": Run(),
    "short": Run(SHORT, loss=RelativeMSE, pairs=20_000),
    "report": Run(REPORT, init=kaiming, source=fixed),
    # bestmodel.pth was made by the first of these two, and then by the second twice, each time with --start and the
    # weights before, first with --num-epochs 14 --seed 43
    "bestmodel-first": BEST,
    "bestmodel": replace(
        BEST,
        recipe=replace(BEST.recipe, num_epochs=20, lr=1.5e-3),
        init=None,
        loss=RelativeMSE,
        targets=8,
        seed=44,
        distill_epochs=0,
    ),
    # unet.pth was made so, too: by these three in turn, and four more between the last two, with --source fresh and
    # --loss mse --num-epochs 16 --seed 51, then --num-epochs 18 --seed 52, then --num-epochs 36 --seed 54, and then as
    # it is with --seed 60
    "unet-narrow": Run(replace(DEEP, num_epochs=50), network="unet-narrow", pairs=10_000),
    "unet-wide": Run(replace(DEEP, num_epochs=22, lr=0.006), network="unet", pairs=10_000),
    "unet": Run(
        replace(DEEP, num_epochs=18, lr=0.006),
        network="unet",
        source=varied,
        loss=RelativeMSE,
        pairs=10_000,
        targets=8,
        seed=62,
    ),
    "resnet": Run(replace(DEEP, num_epochs=4), network="resnet", pairs=10_000),
    # photo.pth was made so, too, by the second several times: see benchmarks/README.md. But its first runs had 16 crops
    # of 64 x 64 in a batch, and twice as many with Poisson noise.
    "photo-first": PHOTO,
    "photo": replace(PHOTO, recipe=replace(PHOTO.recipe, num_epochs=9, lr=0.002), targets=8),
    "shots": replace(
        PHOTO,
        recipe=replace(DEFAULT, num_epochs=10, batch_size=8, lr=5e-3, precision="float32"),
        start=str(PhotoUNet.PRETRAINED),
        source=shots,
        pairs=500,
    ),
}
