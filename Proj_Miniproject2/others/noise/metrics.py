"""How good a denoised image is."""


def psnr(denoised, clean):
    """Peak signal-to-noise ratio in dB as the course's grader defines it: a float.

    The mean over images of -10 log10(mean((x - y)^2)), x and y scaled to [0, 1]; infinite if an image is
    identical to its clean one. denoised, clean: (N, C, H, W) with N >= 1, uint8 or float in [0, 255]. Raises
    ValueError on other or unequal shapes.
    """
    if denoised.shape != clean.shape:
        raise ValueError(f"expected images of equal shape, got {tuple(denoised.shape)} and {tuple(clean.shape)}")
    if denoised.dim() != 4 or not denoised.numel():
        raise ValueError(f"expected at least one image, (N, C, H, W), got {tuple(denoised.shape)}")
    mse = ((denoised.double() - clean.double()) / 255).square().mean((1, 2, 3))
    return (-10 * mse.log10()).mean().item()
