"""Write a network with its weights as an ONNX file, which ONNX Runtime and many other programs run.

It takes images float32 (N, 3, height, width) in [0, 255], of any number and size, and gives the same, as `predict` of
the network does, but all of an image at once, and in float32 on every machine. A grey picture goes in as three equal
channels, of which the mean is taken. What `denoise` does around it is not in the file: which network it takes for which
picture, how its noise is made even, and the range of measured pictures; what the weights want is printed. It takes
`pip install '.[export]'`.
"""

from pathlib import Path

from ..api.exporting import to_onnx
from ..api.weights import trained
from ..formats.files import check_outputs, write_whole
from ..networks import NETWORKS
from ..noise.ranges import LEVELS
from ..noise.stabilise import MIDDLE, STRENGTH
from . import add_overwrite


def add_arguments(parser):
    parser.add_argument("--network", choices=NETWORKS, default="photo", help="The network to write (%(default)s).")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="The ONNX file to write.")
    add_overwrite(parser)
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="A file of weights, as `train` writes, instead of those shipped.",
    )


def main(args):
    check_outputs([args.out], [args.weights or NETWORKS[args.network].PRETRAINED], args.overwrite)
    model, about = trained(args.network, args.weights), ""
    if model.range:
        low, scale = model.range
        about = f" A picture x, of the kind that it was trained on, goes in as (x - {low}) / {scale} + {LEVELS[0]}."
    if model.seen:
        sd, middle = model.seen
        about += f" It sees y as (y - {middle}) * {STRENGTH / sd} + {MIDDLE}."
    if model.even:
        about = (
            f" A picture x whose noise has the standard deviation sd, and its mean m, goes in as (x - m) * {STRENGTH} "
        )
        about += f"/ sd + {MIDDLE}; what `denoise` does to noise that isn't even is not in the file."
    write_whole(to_onnx(model, about), args.out)
    print(f"{args.out} takes and gives images float32 (N, 3, height, width) in [0, 255].{about}")
