"""A loss beside `model.MSE`."""

from ...model import Module, check_kind, check_like


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
        return (error * (2 / error.numel()) / floored.view(-1, *[1] * (error.dim() - 1)) * gradwrtoutput).detach()


class FaintRelativeMSE(RelativeMSE):
    """The same with a lower FLOOR: noise of a camera's few grey levels counts as much as strong noise."""

    FLOOR = (3 / 255) ** 2
