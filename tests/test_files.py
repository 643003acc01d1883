"""Writing files: whole or not at all, whoever else writes, and never over what somebody needs."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image

from Proj_Miniproject2.model import Model
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.commands import evaluate, train
from Proj_Miniproject2.others.formats import files
from Proj_Miniproject2.others.formats.files import check_outputs, read_json, read_pair, save, whole_path, write_whole
from Proj_Miniproject2.others.networks import NETWORKS

ROOT = Path(__file__).parents[1]


def tree(folder):
    """What is in a folder: names and contents."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


# ----------------------------------------------------------------------------------------------------------
# write_whole


def test_threads_write_into_one_folder(tmp_path):
    """To files of their own, as processes of equal number do in two containers."""
    wrong = []

    def write(letter):
        for _ in range(20):
            try:
                write_whole(letter * 200_000, tmp_path / letter.decode())
                if set((tmp_path / letter.decode()).read_bytes()) != set(letter):
                    wrong.append("another's content")
            except OSError as error:
                wrong.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """Neither under a name that can be guessed, nor under that which is drawn."""
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / f"{os.getpid()}.part").symlink_to(tmp_path / "theirs")
    write_whole(b"ours", tmp_path / "ours")
    assert (tmp_path / "theirs").read_text() == "theirs" and (tmp_path / "ours").read_text() == "ours"
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "drawn")
    (tmp_path / "drawn.part").symlink_to(tmp_path / "theirs")
    with pytest.raises(FileExistsError):
        write_whole(b"new", tmp_path / "ours")
    assert (tmp_path / "theirs").read_text() == "theirs" and (tmp_path / "ours").read_text() == "ours"


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """And the name before `write_whole` returns."""
    steps, flush, replace = [], os.fsync, os.replace

    def fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size
        steps.append(kind)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("name"), replace(*paths)))
    write_whole(b"12345", tmp_path / "a")
    assert steps == [5, "name", "folder"]


def test_a_folder_whose_place_cannot_be_taken_is_put_back(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("mine")
    before, replace = tree(tmp_path), os.replace

    def busy(source, target):
        if source.name == "a" and target == tmp_path / "a":
            raise OSError("busy")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(OSError, match="busy"), whole_path(tmp_path / "a") as new:
        new.mkdir()
    assert tree(tmp_path) == before


def test_links_stay_and_modes_stay(tmp_path):
    (tmp_path / "deep").mkdir()
    target, link, dangling = tmp_path / "deep" / "target", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to("deep/target")
    dangling.symlink_to("deep/new")
    write_whole(b"new", link)
    assert link.is_symlink() and target.read_text() == "new" and stat.S_IMODE(target.stat().st_mode) == 0o600
    mask = os.umask(0o027)
    try:
        write_whole(b"new", dangling)
    finally:
        os.umask(mask)
    assert dangling.is_symlink() and stat.S_IMODE((tmp_path / "deep" / "new").stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path / "deep")) == ["new", "target"]


@pytest.mark.skipif(os.geteuid(), reason="only a superuser may give files away")
def test_the_owner_stays(tmp_path):
    (tmp_path / "a").touch()
    os.chown(tmp_path / "a", 12, 34)
    write_whole(b"new", tmp_path / "a")
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid) == (12, 34)


def test_pipes_and_devices_are_written_to(tmp_path):
    """They stay what they are; a terminal stands for all devices."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_outputs([pipe])
    write_whole(b"through the pipe", pipe)
    reader.join(20)
    assert read == [b"through the pipe"] and pipe.is_fifo()

    ours, theirs = os.openpty()
    check_outputs([os.ttyname(theirs)])
    write_whole(b"to a terminal", os.ttyname(theirs))
    assert os.read(ours, 100) == b"to a terminal" and Path(os.ttyname(theirs)).is_char_device()


def test_sockets_and_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for call in (lambda path: write_whole(b"x", path), lambda path: check_outputs([path], overwrite=True)):
            with pytest.raises(OSError, match="is a disk or a socket"):
                call("socket")
            with pytest.raises(IsADirectoryError, match="is a folder"):
                call(tmp_path)
        assert Path("socket").is_socket()


# ----------------------------------------------------------------------------------------------------------
# check_outputs, and that every command asks it


@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link", "detour", "link of the folder"])
def test_no_output_is_an_input_or_another_output(way, tmp_path):
    path, other = tmp_path / "a" / "x", tmp_path / "y"
    path.parent.mkdir()
    path.touch()
    if way == "itself":
        other = path
    elif way == "symbolic link":
        other.symlink_to(path)
    elif way == "hard link":
        other.hardlink_to(path)
    elif way == "detour":
        other = tmp_path / "a" / ".." / "a" / "x"
    else:
        other.symlink_to(path.parent)
        other = other / "x"
    with pytest.raises(ValueError, match="is an input"):
        check_outputs([other], inputs=[None, path], overwrite=True)
    with pytest.raises(ValueError, match="is an input"):
        check_outputs([], inputs=[path], resumed=[other])
    with pytest.raises(ValueError, match="are one file"):
        check_outputs([other, None, path], overwrite=True)
    with pytest.raises(ValueError, match="are one file"):
        check_outputs([other], overwrite=True, resumed=[path])
    if way != "hard link":
        path.unlink()  # neither is there yet
        with pytest.raises(ValueError, match="are one file"):
            check_outputs([other, path])


def test_what_is_there_is_meant_to_be_replaced(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        check_outputs([tmp_path / "b", tmp_path / "a"])
    check_outputs([tmp_path / "b", tmp_path / "a"], overwrite=True)
    check_outputs([tmp_path / "b"], resumed=[tmp_path / "a", tmp_path / "c"])
    assert tree(tmp_path) == {tmp_path / "a": b"mine"}


def test_folders_are_tried_out(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="no folder .*none to write a to"):
        check_outputs([tmp_path / "none" / "a"])
    check_outputs([tmp_path / "none" / "deeper" / "a"], make_folders=True)
    for path in ("file/a", "file/deeper/a"):
        with pytest.raises(NotADirectoryError, match="got the file .*file$"):
            check_outputs([tmp_path / path], make_folders=True)
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photos, pairs, weights and results, and what outputs could destroy of them."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "photos" / "deep").mkdir(parents=True)
    for i, name in enumerate(("0.png", "deep/1.png")):
        Image.new("RGB", (256, 256), (i, 2, 3)).save(folder / "photos" / name)
    save(tuple(torch.randint(256, (2, 2, 3, 8, 8), dtype=torch.uint8)), folder / "val_data.pkl")
    Model().save_weights(folder / "w.pth")
    (folder / "r.json").write_text(json.dumps({"curve": [{"pairs": 1, "loss": 1, "psnr": 2}]}))
    (folder / "c").touch()
    (folder / "w-worse.pth").touch()
    (folder / "link").symlink_to("new.pth")
    return folder


@pytest.mark.parametrize(
    "command, words",
    [
        ("evaluate val_data.pkl --results val_data.pkl --overwrite", "is an input"),
        ("evaluate val_data.pkl --results photos/deep/1.png --photos photos --overwrite", "is an input"),
        ("evaluate val_data.pkl --weights w.pth --results w.pth --overwrite", "is an input"),
        (f"evaluate val_data.pkl --results {Model.PRETRAINED} --overwrite", "is an input"),
        ("evaluate val_data.pkl --results r.json", "--overwrite"),
        ("train photos --out new.pth --results new.pth", "are one file"),
        ("train photos --out new.pth --results link", "are one file"),
        ("train photos --out new.pth --checkpoint new.pth", "are one file"),
        ("train photos --out c.distill --checkpoint c", "are one file"),
        ("train photos --out w.pth --results w-worse.pth --overwrite", "are one file"),
        ("train photos --out w.pth --start w.pth --overwrite", "is an input"),
        ("train photos --out photos/0.png --overwrite", "is an input"),
        ("train --shots photos --out photos/0.png --overwrite", "is an input"),
        ("train photos --out new.pth --checkpoint photos/0.png", "is an input"),
        ("train photos --out w.pth", "--overwrite"),
        ("train photos --out new.pth --results r.json", "--overwrite"),
        ("pairs photos .", "--overwrite"),
        ("plot r.json --out r.json --overwrite", "is an input"),
        ("plot r.json --out c", "--overwrite"),
        ("denoise photos/0.png --out photos --overwrite", "is an input"),
        ("denoise photos/0.png --out photos --resume", "is an input"),
        ("denoise photos/0.png --out new --weights w.pth --resume --overwrite", "not allowed with"),
    ],
)
def test_every_command_asks_before_any_work(command, words, data, monkeypatch, capsys):
    monkeypatch.chdir(data)
    for module, name in ((train, "load_photos"), (train, "read_scenes"), (evaluate, "read_pair")):
        monkeypatch.setattr(module, name, None)  # would be called, were it not found out before
    before = tree(data)
    with pytest.raises(SystemExit) as exit:
        main(command.split())
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and words in printed.splitlines()[-1]
    assert tree(data) == before and (data / "link").is_symlink()


def test_overwrite_replaces(data, tmp_path, monkeypatch):
    monkeypatch.chdir(data)
    (tmp_path / "val_data.pkl").write_text("old")
    (tmp_path / "r.json").write_text("old")
    main(f"pairs photos {tmp_path} --train 2 --val 2 --overwrite".split())
    main(f"evaluate {tmp_path}/val_data.pkl --results {tmp_path}/r.json --overwrite".split())
    assert len(read_pair(tmp_path / "val_data.pkl")[0]) == 2
    assert "the file's own noise" in read_json(tmp_path / "r.json")


# ----------------------------------------------------------------------------------------------------------
# What is said


def test_closed_stderr(data, tmp_path, monkeypatch, capsys):
    """As a daemon's: no bars, and errors say nothing, also not on stdout."""
    monkeypatch.chdir(data)
    monkeypatch.setattr(sys, "stderr", None)
    main(f"pairs photos {tmp_path} --train 2 --val 2".split())
    Image.new("RGB", (9, 8)).save(tmp_path / "small.png")
    main(f"denoise {tmp_path}/small.png --out {tmp_path}/out --network resnet".split())
    assert os.listdir(tmp_path / "out") == ["small.png"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        main(f"pairs photos {tmp_path}".split())
    assert exit.value.code == 2 and capsys.readouterr().out == ""


def test_skipped_photos_are_one_line_each(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(data)
    (tmp_path / "photos").mkdir()
    for name in ("0.png", "1.png"):
        Image.new("RGB", (256, 256)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "text.png").write_text("no picture")
    main(f"pairs {tmp_path}/photos {tmp_path} --train 2 --val 2".split())
    line = f"noise2noise pairs: warning: skipped {tmp_path}/photos/text.png: is no picture of the kinds"
    printed = capsys.readouterr().err
    assert printed.startswith(line) and len(printed.splitlines()) == 1


@pytest.mark.parametrize("command", ["denoise photos --out {} --weights", "evaluate val_data.pkl --weights"])
def test_weights_of_another_network_say_whose_they_are(command, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(data)
    shipped = NETWORKS["unet"].PRETRAINED
    with pytest.raises(SystemExit) as exit:
        main(f"{command.format(tmp_path)} {shipped}".split())
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and printed.endswith(f"{shipped} does not hold the weights of this network: "
                                                     "try --network unet\n")  # fmt: skip


ones = torch.ones(2, 3, 4, 4, dtype=torch.uint8)
PAIRS = {
    "expanded": (ones[:1].expand(9, 3, 4, 4),) * 2,
    "sparse": (ones.to_sparse(), ones.to_sparse()),
    "without content": (ones.to("meta"), ones.to("meta")),
    "of no images": (ones[:0], ones[:0]),
    "of no pixels": (ones[..., :0], ones[..., :0]),
    "float": (ones.float(), ones.float()),
    "unequal": (ones, ones[:1]),
    "three": (ones, ones, ones),
    "numbers": (1, 2),
    "many": tuple(range(10_000)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_other_pairs_are_one_line_that_names_the_file(pair, tmp_path, capsys):
    torch.save(pair, tmp_path / "val.pkl")
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", str(tmp_path / "val.pkl")])
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and f"{tmp_path}/val.pkl" in printed and len(printed.splitlines()) == 1
    assert len(printed) < 500


def test_pairs_may_be_views(tmp_path):
    """Of what is all there, such as images whose channels are last."""
    images = torch.randint(256, (2, 5, 6, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    save((images, images + 1), tmp_path / "val.pkl")
    assert torch.equal(read_pair(tmp_path / "val.pkl")[0], images)


DEEP = "[" * 100_000 + "]" * 100_000
RESULTS = ["[]", "3", '{"a": 3}', '{"a": [3]}', '{"a": [{}]}', "no JSON", "\xff", DEEP, ""]


@pytest.mark.parametrize("text", RESULTS, ids=[text[:12] for text in RESULTS])
def test_other_results_are_one_line_that_names_the_file(text, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(data)
    (tmp_path / "target.json").write_text(text, encoding="latin-1")
    with pytest.raises(SystemExit) as exit:
        main(f"ablate photos {tmp_path} target".split())
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and f"{tmp_path}/target.json" in printed and len(printed.splitlines()) == 1


POINT = '{{"curve": [{{"pairs": {}, "loss": {}, "psnr": {}}}]}}'
CURVES = [
    *(DEEP, '{"curve": ' + DEEP + "}", "9" * 5000 + DEEP, "\xff"),
    *(POINT.format(1, '"x"', 1), POINT.format("null", 1, 1), POINT.format(1, [], 1), POINT.format("9" * 400, 1, 1)),
    *("epoch 1/2: loss abc, 7 images/s", "7 pairs seen: many dB", "9" * 5000 + " pairs seen: 1 dB"),
]


@pytest.mark.parametrize("text", CURVES, ids=[text[:30] for text in CURVES])
def test_other_curves_are_one_line_that_names_the_file(text, tmp_path, capsys):
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(SystemExit) as exit:
        main(["plot", str(tmp_path / "run.json"), "--out", str(tmp_path / "p.svg")])
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and f"{tmp_path}/run.json holds no curve" in printed and len(printed.splitlines()) == 1


def test_more_than_there_is_memory_for(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(data)
    with pytest.raises(SystemExit) as exit:
        main(f"pairs photos {tmp_path}/out --train {10**15} --val 1".split())
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and "more memory than there is" in printed and len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way, module", [
    ("-m", "torch"),
    ("-m", "Proj_Miniproject2.others.commands.plot"),
    ("script", "torch"),
    ("library", "torch"),
])  # fmt: skip
def test_ctrl_c_during_imports_is_one_line(way, module, tmp_path):
    """Where a command begins; who imports the package hears of it."""
    (tmp_path / "sitecustomize.py").write_text(f"""if True:
        import sys

        class Interrupt:
            def find_spec(name, *_):
                if name == {module!r}:
                    raise KeyboardInterrupt

        sys.meta_path.insert(0, Interrupt)
    """)
    (tmp_path / "noise2noise").write_text(
        "from Proj_Miniproject2.others.__main__ import main\nmain(['plot', 'x', '--out', 'y'])"
    )
    command = {
        "-m": ["-m", "Proj_Miniproject2.others", "plot", "x.json", "--out", "y.png"],
        "script": [tmp_path / "noise2noise"],
    }
    command = command.get(way, ["-c", "import Proj_Miniproject2"])
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True)
    if way == "library":
        assert "KeyboardInterrupt" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "noise2noise: stopped\n")


def test_who_has_pictures_has_numpy():
    """Without it every command begins with torch's warning."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(requirement.startswith("numpy") for requirement in extras["photos"])
