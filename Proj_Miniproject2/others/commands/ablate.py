"""What each part of the recipe is worth: short trainings that differ in one thing, measured on photos set aside.

All see as many pairs. Every study writes RESULTS/STUDY.json, anew after each training; one that is there already goes
on from where it stopped, if it is of the same photos. Without names, all studies are run. What several studies ask for
is trained once.
"""

import json
from pathlib import Path

from ..data.files import write_json
from ..data.photos import load_photos
from ..lab.experiment import known_by, train
from ..lab.studies import SEEDS, STUDIES, gradient_sizes, run_study


def check_results(path, photos):
    """ValueError if there are results already that are not of these photos."""
    for run in sum(json.loads(path.read_text()).values(), []) if path.exists() else []:
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
    photos = load_photos(args.photos)
    studies, ours, done = args.studies or STUDIES, known_by(photos), {}
    for name in studies:
        check_results(args.results / f"{name}.json", ours)
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
    if "initialisation" in studies:
        write_json(gradient_sizes(photos, SEEDS[0]), args.results / "gradients.json")
