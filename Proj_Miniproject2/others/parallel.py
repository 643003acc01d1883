r"""Training on several processes or machines, each on pairs of its own, over torch.distributed.

    torchrun --standalone --nproc-per-node 2 -m Proj_Miniproject2.others train PHOTOS --out FILE --checkpoint FILE

A run means the same however many processes share it: `batch_size` is the batch of all of them, of which each takes its
part, and `pairs` is what they see together in an epoch (but where batches are small at first, the halves may differ by
some pairs). So a checkpoint goes on with any number of them. The gradients are averaged in one message a step, over
gloo on CPUs and NCCL on GPUs, one process each. The first process alone prints and writes; when another one dies, all
end, and `torchrun --max-restarts` starts them again from the checkpoint.

On each of several machines, with PHOTOS in the same place (restarts need the variable, see `group`):

    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d \
        --rdzv-endpoint FIRST_MACHINE:29500 --rdzv-id NAME --max-restarts 3 -m Proj_Miniproject2.others train PHOTOS ...
"""

import contextlib
import os
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from ..model import Model

OWN_SEEDS = 1_000_000  # the processes' seeds lie so far apart
PATIENCE = timedelta(seconds=5)  # in which the first process says what went wrong


def launched():
    """Whether torchrun started this process."""
    return distributed.is_torchelastic_launched()


def rank():
    """This process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes():
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextlib.contextmanager
def only_first_speaks():
    """Away with what processes but the first print."""
    if not launched() or os.environ["RANK"] == "0":
        yield
        return
    with open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


@contextlib.contextmanager
def group():
    """Join the processes that torchrun started, for a while; without torchrun, nothing.

    ValueError for fewer GPUs than processes, and where a restart would go wrong.
    """
    if not launched():
        yield
        return
    # One store serves all attempts (pytorch's issue 135712): without a prefix, processes would look for dead ones.
    # But each machine counts its own attempts.
    attempts, lasting = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "True"
    several = os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]
    if lasting and several and os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0":
        raise ValueError("--max-restarts on several machines needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on each")
    if torch.cuda.is_available():
        gpu, here = int(os.environ["LOCAL_RANK"]), os.environ["LOCAL_WORLD_SIZE"]
        if gpu >= torch.cuda.device_count():
            raise ValueError(f"{here} processes need as many GPUs, this machine has {torch.cuda.device_count()}")
        torch.cuda.set_device(gpu)
    with connected():
        store, number, size = next(distributed.rendezvous("env://"))
        store = distributed.PrefixStore(f"attempt {attempts}", store) if lasting else store
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=store, rank=number, world_size=size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def connected():
    """ConnectionError, which is one line for the user, when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"lost another process: {str(error).partition('. ')[0]}") from error


def should_say():
    """Whether this process should say what went wrong: if another than the first, only where that one has nothing to
    say, since most errors are everyone's."""
    if not launched():
        return True
    first, key = os.environ["RANK"] == "0", f"said in attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}"
    try:
        store = distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=PATIENCE)
        store.set(key, "") if first else store.wait([key], PATIENCE)
    except RuntimeError:  # nothing was heard
        return True
    return first


def from_first(function):
    """What `function` gives in the first process, in all."""
    box = [function() if rank() == 0 else None]
    if processes() > 1:
        with connected():
            distributed.broadcast_object_list(box)
    return box[0]


def mean(value, weight):
    """The weighted mean of the processes' values: a float."""
    if processes() == 1:
        return value
    sums = torch.tensor([value * weight, weight], dtype=torch.float64)
    with connected():
        distributed.all_reduce(sums)
    return (sums[0] / sums[1]).item()


def part(number):
    """This process's part of so many things: all parts differ by one at most."""
    return number // processes() + (rank() < number % processes())


def own(run):
    """This process's part of a `recipes.Run`: its pairs, and a seed to draw them with.

    ValueError unless each process has a pair in every batch, and in both halves where batches are small at first.
    """
    last = run.pairs % run.recipe.batch_size
    least = processes() * (2 if run.recipe.small_batches else 1)
    if min(run.pairs, run.recipe.batch_size, last or run.pairs) < least:
        raise ValueError(
            f"{processes()} processes share every batch, and {run.pairs} pairs in batches of {run.recipe.batch_size} "
            f"make one of {last or run.recipe.batch_size}{', in halves' if run.recipe.small_batches else ''}"
        )
    pairs = run.pairs // run.recipe.batch_size * part(run.recipe.batch_size) + part(last)
    return replace(run, pairs=pairs, seed=run.seed + OWN_SEEDS * rank())


def joined(kind):
    """The class of models `kind`, or if there are several processes, one that trains together with the others'."""
    return type(kind.__name__, (Joined, kind), {}) if processes() > 1 else kind


class Joined(Model):
    """What a model does otherwise if it trains with those of other processes."""

    def fit(self, pairs, num_epochs=None, *, checkpoint=None, **options):
        """As `Model.fit`, for this process's pairs, with the recipe and the checkpoint of all processes. Each must have
        as many batches: ValueError."""
        return super().fit(pairs, num_epochs, checkpoint=None if rank() else checkpoint, **options)

    def train_epoch(self, inputs, targets, epoch, recipe, seed):
        recipe = replace(recipe, batch_size=part(recipe.batch_size))
        batches = [None] * processes()
        with connected():
            mine = recipe.halved(torch.arange(len(inputs)).split(recipe.batch_size), epoch)
            distributed.all_gather_object(batches, len([*mine]))
            for parameter in self.optimizer.params:  # equal at first, and again where machines round differently
                for tensor in (parameter.value, *filter(torch.is_tensor, parameter.state.values())):
                    message = tensor.contiguous()
                    distributed.broadcast(message, 0)
                    tensor.copy_(message)
        if len(set(batches)) > 1:
            raise ValueError(f"every process must have as many batches in an epoch, got {batches}")
        return super().train_epoch(inputs, targets, epoch, recipe, seed)

    def learn(self, inputs, targets):
        """As `Model.learn`, for the pairs of all processes; each pair counts as much as any other."""
        loss, images = super().learn(inputs, targets)
        grads = [grad for _, grad in self.optimizer.params]
        message = torch.cat([*(grad.flatten() for grad in grads), loss.view(1), loss.new_ones(1)]).mul_(images)
        with connected():
            distributed.all_reduce(message)
        *means, loss, images = message.split([*(grad.numel() for grad in grads), 1, 1])
        for grad, total in zip(grads, means, strict=True):
            grad.copy_(total.view(grad.shape)).div_(images)
        return loss / images, images

    def resume(self, path, run):
        """As `Model.resume`, by what the first process has, the file and the run."""
        content, run = from_first(lambda: (Path(path).read_bytes() if path and Path(path).exists() else None, run))
        if content is None:
            return 0
        with tempfile.TemporaryDirectory() as folder:
            if rank():
                path = Path(folder, "checkpoint")
                path.write_bytes(content)
            return super().resume(path, run)
