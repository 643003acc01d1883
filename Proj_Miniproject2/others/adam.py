"""Adam, which Muon in `model.py` is measured against."""

from ..model import Model, Optimizer


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
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
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


class AdamModel(Model):
    """`Model`, trained by Adam whatever optimiser the recipe names."""

    def make_optimizer(self, recipe):
        return Adam(self.network.param(), recipe.lr, weight_decay=recipe.weight_decay)
