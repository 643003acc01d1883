"""Which files there are in a folder."""

import os
from pathlib import Path

SIDECARS = {"thumbs.db", "desktop.ini", ".ds_store"}  # besides macOS's "._NAME"


def is_sidecar(path):
    """Whether a file is one of those that systems leave beside pictures: none itself, whatever its ending."""
    return path.name.startswith("._") or path.name.lower() in SIDECARS


def paths_in(folder, wanted, onerror=None):
    """The files in a folder and its subfolders that are `wanted`, a function of their path, sorted; without sidecars.

    Links to folders are followed, and each folder is searched once; but one that is wanted itself, as a kind of picture
    may be, isn't searched. onerror: takes the OSError of every subfolder and link that can't be read, which has its
    `filename`; without, the first is raised. ValueError if `folder` is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"expected a folder of pictures, got {folder}")
    paths, starts, searched, failed = [], [folder], set(), []
    while starts:
        for here, subfolders, names in os.walk(starts.pop(), onerror=failed.append):
            found = os.stat(here)
            if (found.st_dev, found.st_ino) in searched:
                subfolders.clear()
                continue
            searched.add((found.st_dev, found.st_ino))
            whole = [name for name in subfolders if wanted(Path(here, name))]
            subfolders[:] = [name for name in subfolders if name not in whole]
            inner = [Path(here, name) for name in sorted(subfolders)]
            # Links, which may lead in circles, come last: a folder is known by the name that it has itself.
            starts[:0] = filter(os.path.islink, inner)
            for path in (Path(here, name) for name in whole + names):
                try:
                    path.stat()
                    is_wanted = not is_sidecar(path) and wanted(path)
                except OSError as error:  # mostly of a link to what isn't there, a folder it may be
                    failed.append(error)
                    continue
                if is_wanted:
                    paths.append(path)
    for error in failed:
        if not onerror:
            raise error
        onerror(error)
    return sorted(paths)
