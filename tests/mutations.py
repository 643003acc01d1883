"""Breaks the package on purpose, one small mutation at a time, and makes sure that a test notices.

    python -m tests.mutations [NUMBER ...]

Each is made in a copy of the repository in a temporary folder, where the named tests run until one fails. Prints a line
for each; the exit status is 1 if one survives or no longer fits the source. An hour on two cores.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = Path("Proj_Miniproject2")

# In each file: (what stands there, once; what the mutation makes of it; which tests should notice, as "FILE [-k NAME]")
BY_FILE = {
    "model.py": [
        # modules and parameters
        ("if version(tensor) != before:", "if False:", "networks -k must_not_change"),
        ("accepted = [parameter.accept(state_dict[name], name)", "accepted = [state_dict[name]", "blocks -k state"),
        # the simple blocks
        ("clamp(min=0)", "clamp(min=-1e-3)", "blocks -k relu"),
        ("* output * (1 - output)", "* output * (1 + output)", "blocks -k activations"),
        (".unflatten(-3, (-1, s0)).sum(", ".unflatten(-3, (s0, -1)).sum(", "blocks -k nearest"),
        ("prediction.detach() - target.detach()", "target.detach() - prediction.detach()", "blocks -k mse"),
        ("if below.count(module) > 1:", "if False:", "networks -k twice"),
        ("return self.branch.backward(through) + around", "return self.branch.backward(through)", "networks -k skips"),
        # SGD
        ("            grad.detach().zero_()\n", "            pass\n", "blocks -k accumulate"),
        ("value.add_(grad, alpha=-self.lr)", "value.add_(grad, alpha=self.lr)", "blocks -k sgd"),
        ("alpha=1 - self.dampening", "alpha=1", "blocks -k sgd"),
        ("grad.add(velocity, alpha=self.momentum) if", "velocity.add(grad, alpha=self.momentum) if", "blocks -k sgd"),
        # the textbook's convolution: how x and y lie to each other
        ("u * d0 :: s0", "u * d1 :: s0", "blocks -k textbook"),
        (":: s0, v * d1 :: s1]", ":: s1, v * d1 :: s0]", "blocks -k textbook"),
        ("[:, :, :rows, :columns]", "[:, :, -rows:, -columns:]", "blocks -k textbook"),
        ("left : left + width", "top : top + width", "blocks -k textbook"),
        ("*(size + sum(p) for", "*(size + 2 * p[0] for", "blocks -k textbook"),
        ("(t // 2, t - t // 2)", "(t - t // 2, t // 2)", "blocks -k textbook"),
        ("tuple((n - k) // s + 1 for", "tuple(-(-(n - k) // s) + 1 for", "blocks -k textbook"),
        ("(n - 1) * s - 2 * p + d", "(n - 1) * s - p + d", "blocks -k textbook"),
        # its maps and products
        ("geometry.inside(padded).copy_(x)", "padded[:, :, : x.shape[2], : x.shape[3]].copy_(x)", "blocks -k textbook"),
        ("X.flatten(3).unflatten(0, (geometry.groups, -1))", "X.flatten(3)[None]", "blocks -k textbook"),
        ("pixels.add_(X[:, u, v]", "pixels.copy_(X[:, u, v]", "blocks -k textbook"),
        (
            "return geometry.inside(padded)\n",
            "return padded[:, :, : geometry.x_size[0]]\n",
            "blocks -k textbook",
        ),
        ("None if bias is None else rows(bias, geometry)", "None", "blocks -k textbook"),
        (
            "view(len(w), len(x), *geometry.y_size).transpose(0, 1)",
            "view(len(x), len(w), *geometry.y_size)",
            "blocks -k textbook",
        ),
        ("multiply(W.mT, Y), geometry", "multiply(W.mT, Y.flip(2)), geometry", "blocks -k textbook"),
        ("multiply(Y, X.mT).view(", "multiply(Y, X.mT).flip(2).view(", "blocks -k textbook"),
        # its gradients
        ('["weight"].grad.add_(w_from(x, y_grad', '["weight"].grad.copy_(w_from(x, y_grad', "blocks -k textbook"),
        ('["weight"].grad.add_(w_from(x_grad, y', '["weight"].grad.copy_(w_from(x_grad, y', "blocks -k textbook"),
        ('["bias"].grad.add_(wide', '["bias"].grad.copy_(wide', "blocks -k textbook"),
        ("wide.movedim(1, 3).sum(2)", "wide[:1].movedim(1, 3).sum(2)", "blocks -k textbook"),
        # how the network is used
        ("HALO = 10", "HALO = 9", "networks -k reach"),
        ("slice(first, stop + halo)", "slice(first, stop + halo - self.GRID)", "networks -k tiles"),
        ("index.minimum(2 * size - 2 - index)", "index.clamp(max=size - 1)", "networks -k any_size"),
        # its training
        ("0.01 if model.pretrained else 0.3", "0.3", "textbook"),
        ('random.Random(f"{self.seed} {epoch}").sample', "random.Random(self.seed).sample", "textbook"),
        (".sample(range(len(inputs)), len(inputs))", ".choices(range(len(inputs)), k=len(inputs))", "textbook"),
        ("yield inputs[index], targets[index]", "yield inputs[index], targets[index.flip(0)]", "textbook"),
        ("        self.optimizer.zero_grad()\n", "", "textbook"),
        ("self.loss(self.network(inputs), targets)", "self.loss(self.network(inputs), inputs)", "textbook"),
        ("total + loss * images", "total + loss", "textbook"),
        ("or not all(value.isfinite().all() for value, _ in self.network.param())", "", "textbook"),
        ("            deque(map(torch.Tensor.copy_, values, before), maxlen=0)", "            pass", "textbook"),
    ],
    "others/fast/convolution.py": [
        (">= WORTH_ROUNDING:", "> WORTH_ROUNDING:", "fast -k precision"),
        ("lifted[maps.key] if maps.key in lifted else", "[*lifted.values()][0] if lifted else", "networks -k seams"),
        ("for first in range(0, n, images):", "for first in range(0, n - 1, images):", "fast -k parts"),
        ("(made.stop - 1) * s - p + reach, x_rows", "(made.stop - 1) * s - p, x_rows", "fast -k parts"),
        ("padding=[(p + x.start - s * y.start, None)", "padding=[(p, None)", "fast -k each_kind"),
        ("MANY_TO_ROUND if rounded else MANY", "MANY", "fast -k larger_networks"),
        ("filtering < rows", "filtering > rows", "fast -k measured_to_pay"),
        ("W_grads.add_(W_grad)", "W_grads", "fast -k each_kind"),
        (
            "(attributes)\n        yield\n    finally:\n        deque(undo, maxlen=0)",
            "(attributes)\n        yield\n    finally:\n        pass",
            "networks -k nested",
        ),
        (
            "= True\n        yield\n    finally:\n        deque(undo, maxlen=0)",
            "= True\n        yield\n    finally:\n        [held.clear() for held in held]",
            "fast -k same_time",
        ),
    ],
    "others/fast/maps.py": [
        ("return products.baddbmm_(A, B, beta=0)", "return A @ B", "settings -k autocast"),
        ("columns.add_(W.view", "columns.copy_(W.view", "blocks -k accumulate"),
        ("y.addmm_(x, w, beta=min(k, 1))", "y.addmm_(x, w, beta=0)", "fast -k each_kind"),
        ("w += self.turned(grad)", "w.copy_(self.turned(grad))", "fast -k each_kind"),
        ("w.flip(2, 3).transpose(0, 1)", "w.flip(3).transpose(0, 1)", "fast -k each_kind"),
    ],
    "others/fast/minimal_filtering.py": [
        ("math.prod(p - q for q in roots)", "math.prod(q - p for q in roots)", "fast -k minimal"),
        ("(m - 1) * s + k - p) for", "m * s + k - p) for", "blocks -k no_output_reads"),
        ("taps += self.w.lower", "taps[:] = self.w.lower", "fast -k minimal"),
        ("self.dtype, self.tile)", "self.dtype)", "fast -k take_its_tiles"),
        ("-(-span // tile) * (tile", "-(-span // tile) + (tile", "fast -k fewest"),
    ],
    "others/fast/pieces.py": [
        ("(cells - 2 * halo) / n) + 2 * halo", "(cells - 2 * halo) / n) + halo", "pieces -k tiles"),
        ("inner_rows, inner_columns].mul_", "inner_rows, inner_columns.start :].mul_", "pieces -k textbooks"),
        ("starts = [0, *(first + halo for", "starts = [0, *(first for", "pieces -k tiles"),
        ("(cells - seen) // max(n - 1, 1)", "(cells - seen) // n", "pieces -k tiles"),
    ],
    "others/fast/prediction.py": [
        ("over=own and apart", "over=apart", "pieces -k one_by_one"),
        ("output.clamp_(min=0) if relu", "output if relu", "pieces -k one_by_one"),
    ],
    "others/fast/machine.py": [
        ("        torch.set_num_threads(1)\n", "        pass\n", "pieces -k alone"),
        ("0.7 * exact", "1.4 * exact", "fast -k auto"),
        ("*_, last =", "last, *_ =", "fast -k large_blocks"),
        ("if BEFORE and not INSIDE:", "if BEFORE:", "settings -k last_to_go"),
        ('if setting.fp32_precision == "bf16":', "if True:", "settings -k last_to_go"),
        ('["none" if inherited(setting) else now]', "[now]", "settings -k inherited"),
        ("SHARED_BY.get() or torch", "torch", "pieces -k alone"),
        (
            "yield begun.popleft().result()\n            while",
            "yield begun.pop().result()\n            while",
            "pieces",
        ),
    ],
    "others/networks.py": [
        (".flip(flips).rot90(-turns, (2, 3))", ".rot90(-turns, (2, 3)).flip(flips)", "networks -k any_size")
    ],
    "others/noise/metrics.py": [(".square().mean((1, 2, 3))", ".square().mean()", "data -k psnr")],
    "others/noise/stabilise.py": [
        ("3 / 8 * gain**2", "gain**2", "stabilise"),
        ("(pixels - middle) * (STRENGTH / sd)", "(pixels - middle) / sd", "stabilise"),
        ("torch.where(z > means[-1], many, few)", "many", "stabilise"),
        ("- 1 / 8 - sd**2", "- 1 / 8", "stabilise -k restored"),
        ("    if sd > 1:", "    if False:", "stabilise -k subtracted"),
        ("max(floor + gain * offset, 0)", "max(floor, 0)", "stabilise -k restored"),
    ],
    "others/noise/estimate.py": [
        ("- 2 * rows[..., d:-d]) / 6", "- 2 * rows[..., d:-d]) / 4", "estimate -k even_noise"),
        ("return levels, variances / of_mean", "return levels, variances", "estimate -k camera"),
        ("offset = -floor / gain if", "offset = floor / gain if", "measuring -k camera"),
        ("(variances - gain * levels).median()", "variances.median()", "estimate -k camera"),
        ("[b | ~part.isfinite() for", "[b for", "estimate -k gaps"),
        ("(one - other).mean().item() ** 0.5", "one.mean().item() ** 0.5", "estimate -k rows_or_columns"),
        ("if c < 0.1)", "if c < 0.3)", "estimate -k blurred"),
        ("result |= off_set(result, span[0])", "pass", "estimate -k subtracted"),
        ("grid[:: -(-len(grid) // TILES)]", "grid[:TILES]", "estimate -k large_picture"),
        ("(levels - middle) / unit, 1", "levels - middle, 1", "way -k units_and_offset"),
        ("square - mean.square(), 1.0)", "1 - share, 1.0)", "estimate -k cuts_off"),
        ("if are_blown(full) else", "if True else", "estimate -k cuts_off"),
        ("if slope <= CERTAIN * scatter", "if slope <= 0 * scatter", "estimate -k scatter_alone"),
    ],
    "others/noise/kinds.py": [
        ("row, draw - row * block", "row, row", "data -k pixel_noise"),
        ("clean.float() + sigma * noise", "clean.float() + sigma * noise.abs()", "data -k gaussian"),
        ("alike.sqrt() * normal(1)", "normal(1)", "noises -k lines"),
        ("places < rate", "places < rate / 2", "noises -k impulses"),
    ],
    "others/formats/files.py": [
        ("                flush(Path(here, name))\n", "                pass\n", "files -k disk_before"),
        ("                os.replace(old, path)\n", "                pass\n", "files -k put_back"),
        ("            keep_owner(path, new)\n", "            pass\n", "files -k modes"),
        ("return found.st_dev, found.st_ino", "return os.path.realpath(path)", "files -k another_output"),
    ],
    "others/formats/fits.py": [
        ("zero = -128 if bits == 8 else", "zero =", "formats -k came_in"),
        ('np.where(blank, hdu.header.get("BLANK", 0), words)', "words", "fits -k scaled"),
        ("tuple(reversed(axes))", "tuple(axes)", "fits -k lose_nothing"),
        ("quantize_level=0", "quantize_level=16", "fits -k lose_nothing"),
        ("* scale + zero", "* scale", "fits -k stand_for"),
    ],
    "others/formats/tiff.py": [
        ("if len(set(copies)) == len(copies):", "if True:", "measured_files -k nobody"),
        ("!= tiff.is_svs and", "and", "measured_files -k slide"),
        ("and abs(rows * width - columns * height) <= height + width", "", "measured_files -k any_sizes"),
        ("bigtiff=big, byteorder=tiff.byteorder)", "bigtiff=big)", "formats -k came_in"),
        ("* (2**bits - 1)\n", "* 2**bits\n", "measured_files -k single_pages"),
        ("found[..., :3].all(2)", "found[..., :3].any(2)", "measured_files -k no_data"),
    ],
    "others/formats/streams.py": [
        ("if TAKEN * size > memory():", "if False:", "formats -k too_large"),
        ("self.place > max(LARGE, TIMES * self.size)", "False", "fits -k bad_files"),
    ],
    "others/formats/mrc.py": [
        ("header.cella.x *= 2", "pass", "mrc -k comparison"),
        ("not flags & SIGNED if", "flags & SIGNED if", "mrc -k sign"),
        ("** 2 * self.count * page.size / count", "** 2 * page.size", "mrc -k stays"),
    ],
    "others/formats/nifti.py": [
        ("tuple(reversed(shape))", "tuple(shape)", "nifti -k stored"),
        ('header["dim"][1] *= 2', 'header["dim"][2] *= 2', "formats -k side_by_side"),
        (".newbyteorder(header.endianness)", '.newbyteorder("=")', "formats -k in_place"),
    ],
    "others/formats/dicom.py": [
        ("(words << above) >> (above + self.shift)", "words >> self.shift", "dicom -k fewer_bits"),
        ("new.astype(self.dtype.newbyteorder(order))", "new.astype(self.dtype)", "dicom -k same_units"),
        ("found.SeriesInstanceUID, self.run, what", "self.run, what", "dicom -k new_one"),
    ],
    "others/noise/correlation.py": [
        ("if equal(pixels) > EQUAL:", "if False:", "correlation -k letters"),
        ("(both.all(0) & shown)", "both.all(0)", "correlation -k letters"),
    ],
    "others/api/measuring.py": [
        ("> AT_ENDS * sd**2", "> 1e9 * sd**2", "measuring -k pages_of_one_camera"),
    ],
    "others/formats/zarr.py": [
        ("max(0, s.start - halo) // grid", "s.start // grid", "zarr -k blocks_levels"),
        ("np.rint(result) if dtype.kind", "result if dtype.kind", "zarr -k odd_end"),
        ("[number::processes]", "[:]", "zarr -k three"),
        ("min(SIDE, math.isqrt(", "max(SIDE, math.isqrt(", "zarr -k few_chunks"),
        ("[0, *range(n - s.start % n, s", "[0, *range(n, s", "zarr -k never_stored"),
        ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB", "zarr -k two_runs"),
    ],
    "others/formats/opening.py": [("and len(name) > len(ending)]", "]", "formats -k endings")],
    "others/formats/raw.py": [
        ("together(pages, period, shape) + dark", "together(pages, period, shape)", "raw -k counts"),
        ("np.where(mosaic >= raw.white_level, mosaic, after)", "after", "raw -k counts"),
        ("if WHITE_FROM * white < brightest < white else {}", "if False else {}", "raw -k libraw"),
    ],
    "others/formats/mosaic.py": [
        ("i :: period[0], j :: period[1]] = plane", "j :: period[0], i :: period[1]] = plane", "raw -k apart"),
        ("else i - period for i", "else number - 1 for i", "raw -k apart"),
        ("after if missing is None else np.where(missing, before, after)", "after", "raw -k missing_pixels"),
    ],
    "others/api/mosaics.py": [
        ('"ji,jhw->ihw"', '"ij,jhw->ihw"', "raw -k together"),
        ("(one - other)[None] / 2**0.5", "(one - other)[None]", "raw -k noise_of_a_mosaic"),
        ("result if repair else result + (finite - picture)", "result", "raw -k together"),
        ('"gain": sd**2 / light', '"gain": sd / light', "raw -k noise_of_a_mosaic"),
        ("LOOKS = 2", "LOOKS = 1", "raw -k seen_of"),
        ("1 / counts.sum()", "0", "raw -k seen_of"),
        ("clean[most] -= counts[colour] / counts[most]", "clean[most] -= 1", "raw -k x_trans"),
    ],
    "others/api/way.py": [
        ("pixels.double() - mended.double()", "mended.double() - pixels.double()", "way -k hot"),
        ("        result += broad(picture - result)\n", "        pass\n", "way -k light"),
        ("change * (sd / STRENGTH)", "change * (STRENGTH / sd)", "way -k network_sees"),
        ("    elif whole:\n", "    elif False:\n", "way -k texture"),
        ("share * taken, progress", "share, progress", "way -k dead_pixels"),
        ("stays = stays | missing", "stays = stays", "way -k measurement"),
        ("slice(top - start, top - start + rows.shape[1])", "slice(0, rows.shape[1])", "way -k strips"),
        ("if not bool(known.any()):", "if not bool(known.all()):", "way -k stain"),
    ],
    "others/pairs/photos.py": [
        ("if i % HELD_OUT]", "if i]", "commands -k set_aside"),
        ("torch.where(mirror_i, last - i, i)", "i", "data -k flips"),
    ],
    "others/pairs/shots.py": [
        ("* before - ROUNDING else", "* before else", "shots -k no_shift"),
        ("(gains[shot] / gains[other])", "1", "shots -k as_bright"),
        ("> SURE * noise / power", "> 0 * noise / power", "shots -k noise_alone"),
    ],
    "others/pairs/sources.py": [
        ("if known[scene]:", "if False:", "shots -k as_bright"),
        ("1_000_000 * (run.seed + 1) + epoch", "1_000_000 * (run.seed + 1)", "data -k varied"),
        ("gain / run.targets, generator", "gain, generator", "data -k camera"),
        ("generator) < IMPULSES", "generator) < 1", "noises -k one_input"),
        ("(2 * spread**2)", "spread**2", "noises -k spots"),
    ],
    "others/training/recipe.py": [
        ("if not 0 <= getattr(self, name) < 1:", "if not 0 <= getattr(self, name) <= 1:", "bad_input -k recipes"),
        ("batch.chunk(2 if small else 1)", "batch.chunk(1)", "model -k small_batches"),
        ("min(1, progress / self.warmup)", "min(1, self.warmup)", "training -k learning_rate"),
    ],
    "others/training/by_recipe.py": [
        ("inputs.flip(axis), targets.flip(axis)", "inputs.flip(axis), targets", "model -k alike"),
        ("(step + 0.5) / len(batches)", "step / len(batches)", "model -k small_batches"),
        ("            if others:\n", "            if False:\n", "model -k resumed"),
        ("lr_at(1 - max(self.left()", "lr_at(max(self.left()", "minutes -k rate"),
        ("self.minutes is not None and self.left() <= 0", "False", "minutes -k rate"),
        ("                parameter.copy_(average)\n", "                pass\n", "training -k average"),
    ],
    "others/training/optimizers.py": [
        ('["velocity"].lerp_(grad, 1 - self.momentum)', '["velocity"].lerp_(grad, self.momentum)', "training -k muon"),
        ("max(1, rows / columns) ** 0.5", "(rows / columns) ** 0.5", "training -k muon"),
        ("(1 - beta2 ** state", "(1 - beta1 ** state", "training -k adam"),
    ],
    "others/training/losses.py": [
        ("error * (2 / error.numel())", "error * (1 / error.numel())", "training -k relative")
    ],
    "others/training/initialisations.py": [("normal_(0, (2 /", "normal_(0, (1 /", "training -k spread")],
    "others/training/processes.py": [
        ("(rank() < number % processes())", "(rank() <= number % processes())", "processes -k own_pairs"),
        ("loss.new_ones(1)]).mul_(images)", "loss.new_ones(1)])", "processes -k what_one_learns"),
    ],
    "others/lab/experiment.py": [
        ("lerp_(target.float(), NOISY_SHARE)", "lerp_(target.float(), 1)", "commands -k distillation"),
        ("(noisy[differ], other[differ]) if bool(differ.any())", "(noisy, other) if True", "shots -k saturated"),
    ],
    "others/commands/train.py": [
        (
            'not results["psnr"] > results["noisy_psnr"]',
            'results["psnr"] < results["noisy_psnr"]',
            "commands -k bad_weights",
        )
    ],
}
MUTATIONS = [(PACKAGE / name, *mutation) for name, mutations in BY_FILE.items() for mutation in mutations]


def survives(path, old, new, tests):
    """Whether no test fails with `new` in place of `old`."""
    source = (ROOT / path).read_text()
    if source.count(old) != 1:
        print(f"stands {source.count(old)} times in {path}, not once: {old!r}")
        return True
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "shared", "__pycache__"))
        (copy / path).write_text(source.replace(old, new))
        file, *options = tests.split()
        options += "-x -n 0 -c pyproject.toml --hypothesis-profile unshrunk".split()
        command = [sys.executable, "-m", "pytest", f"tests/test_{file}.py", *options]
        return subprocess.run(command, cwd=copy, capture_output=True).returncode != 1  # as where tests failed


def main():
    chosen = [int(number) for number in sys.argv[1:]] or range(1, len(MUTATIONS) + 1)
    failed = []
    for number in chosen:
        path, old, new, tests = MUTATIONS[number - 1]
        alive = survives(path, old, new, tests)
        print(f"{number:2} {'SURVIVES' if alive else 'noticed'}: {path.name}: {new.strip()}", flush=True)
        failed += [number] * alive
    sys.exit(f"survived: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
