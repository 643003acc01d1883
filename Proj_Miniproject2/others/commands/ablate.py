"""What each part of the recipe is worth: short trainings that differ in one thing, measured on photos set aside.

All see as many pairs. Every study writes RESULTS/STUDY.json, anew after each training; one that is there already goes
on from where it stopped, if it is of the same photos. Without names, all studies are run. What several studies ask for
is trained once.
"""

import json
from pathlib import Path

from ..formats.files import check_outputs, read_json, write_json
from ..lab.experiment import known_by, train
from ..lab.studies import SEEDS, STUDIES, gradient_sizes, run_study
from ..pairs.photos import load_photos
from . import pictures_in


def check_results(path, photos):
    """ValueError if there is something already that isn't results, or that aren't of these photos."""
    runs = read_json(path) if path.exists() else {}
    if not isinstance(runs, dict) or not all(isinstance(found, list) for found in runs.values()):
        raise ValueError(f"{path} holds no results of a study: expected lists of runs, by their names")
    for run in sum(runs.values(), []):
        if not isinstance(run, dict) or "psnr" not in run:
            raise ValueError(f"{path} holds no results of a study: expected runs with their PSNR")
        if run.get("photos") != photos:
            theirs = run.get("photos", "some that it doesn't name")
            raise ValueError(f"{path} holds results of other photos ({theirs}, not {photos}): choose another folder")


def add_arguments(parser):
    parser.add_argument(
        "photos", type=Path, metavar="PHOTOS", help="A folder of photos, whose subfolders are searched, too."
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="The folder for the results, which is made if absent."
    )
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help=f"The studies to make, instead of all: {', '.join(STUDIES)}."
    )


def main(args):
    unknown = set(args.studies) - set(STUDIES)
    if unknown:
        raise ValueError(f"unknown studies {', '.join(unknown)}: known are {', '.join(STUDIES)}")
    studies, done = args.studies or STUDIES, {}
    files, gradients = [args.results / f"{name}.json" for name in studies], args.results / "gradients.json"
    check_outputs([], pictures_in(args.photos), resumed=[*files, gradients], make_folders=True)
    photos = load_photos(args.photos)
    ours = known_by(photos)
    for file in files:
        check_results(file, ours)
    args.results.mkdir(parents=True, exist_ok=True)

    def score(run):
        key = json.dumps(run.describe())
        if key not in done:
            try:
                done[key] = train(photos, run)[1]
            except FloatingPointError as error:
                done[key] = {"psnr": None, "photos": ours, "seed": run.seed, "error": str(error)}
        return done[key]

    for name in studies:
        run_study(score, name, args.results)
    if "initialisation" in studies and not gradients.exists():
        write_json(gradient_sizes(photos, SEEDS[0]), gradients)
