"""The commands and the code of the READMEs, run as they stand, on small data and for two steps."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from jaxdl import config as cfg
from jaxdl.cli.main import main
from jaxdl.configs import shipped
from jaxdl.overrides import override
from jaxdl.training.build import NODES

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "configs/README.md", "jaxdl/data/README.md", "experiments/README.md")

# What no test can run, by a piece of the line, and why.
ELSEWHERE = {
    "pip install": "makes an environment, from the network",
    "srun ": "needs Slurm",
    "--target": "needs the compilers of TPUs and GPUs; tests/targets has them",
    "--profile": "needs more than two steps; tests/training has it",
    "--trials": "needs an extra; tests/sweeps has it",
    "name='mlflow'": "needs an extra; tests/trackers has it",
    "s3://": "needs a server; tests/remote has one",
    "--distributed": "needs a second process; tests/parallel has two of them",
}
# Runs that a README uses and does not train: which config stands in, the quickest of its kind.
STAND_INS = {
    "runs/chorales": "music_lstm",
    "runs/digits": "digits_cnn",
    "runs/flowers": "digits_cnn",
    "runs/folk": "folk_lstm",
    "runs/mnist_cnn": "digits_cnn",
    "runs/objects": "shapes_localization",
    "runs/patient": "digits_cnn",
    "runs/resnet50": "digits_cnn",
    "runs/sentiment": "sentiment_lstm",
    "runs/shakespeare": "shakespeare_lstm",
    "runs/shapes": "shapes_fcos",
    "runs/sweep": "digits_mlp",
    "runs/traced": "digits_cnn",
    "runs/translation": "addition_lstm",
}
SLOW = ("alexnet", "cifar10", "fcos", "folk", "googlenet", "pilotnet", "deeptesla", "resnet",
        "retinanet", "rcnn", "translation", "vgg")  # fmt: skip
QUICK = ("jaxdl describe", "waves.py")  # also of the reference
ANOTHER_INPUT = {"Ein Hund läuft.": "1+2"}  # of a run that stands in


class Block(NamedTuple):
    """A command or a piece of Python of a README, and those before it that it may need."""

    readme: str
    number: int
    kind: str
    text: str


def blocks(readme):
    """The commands and the Python of a file, in their order."""
    text = (ROOT / readme).read_text()
    pieces = re.findall(
        r"```python\n(.*?)```|((?:^    [^\n]*\n|^\n(?=    ))+)", text, re.DOTALL | re.M
    )
    made = []
    for fenced, indented in pieces:
        lines = re.sub(r"^    ", "", indented, flags=re.M)
        if fenced or re.match(r"\s*(import|from) \w+", lines):
            made.append(("python", fenced or lines.lstrip("\n")))
        else:
            lines = re.sub(r"\s*\\\n\s*", " ", lines).splitlines()
            made += [("command", line) for line in lines if re.search(r"(^|[ /])jaxdl \w", line)]
    return [Block(readme, i, *block) for i, block in enumerate(made)]


def words_of(line):
    """The words of a command: what follows it after two spaces is a remark."""
    line = re.sub(r"jaxdl list\b.*", "jaxdl list", line)
    line = re.sub(r"(jaxdl \w+) +", r"\1 ", line).replace("…", "  ")
    return shlex.split(line.split("  ")[0])


def option(words, name):
    return words[words.index(name) + 1] if name in words else None


def is_slow(block):
    """Whether what it trains or uses takes long to compile."""
    workdir = re.search(r"\bruns/\w+", block.text)
    mine = [b for b in blocks(block.readme) if workdir and re.search(rf"{workdir[0]}\b", b.text)]
    lines = [block.text, *(b.text for b in mine if not elsewhere(b))]
    trains = re.search(r"--config configs/(\w+)", "\n".join(lines))
    name = trains[1] if trains else STAND_INS.get(workdir[0] if workdir else "", "")
    return any(part in name for part in SLOW)


def elsewhere(block):
    """Why no test can run it, or None."""
    return next((why for piece, why in ELSEWHERE.items() if piece in block.text), None)


def parameters():
    for readme in READMES:
        if (ROOT / readme).exists():
            for block in blocks(readme):
                title = block.text.split("  ")[0] if block.kind == "command" else block.kind
                # Each command is a process of its own: of the reference, all wait for the slow run.
                quick = any(piece in block.text for piece in QUICK)
                slow = block.kind == "command" and not quick
                slow = slow and (readme != "README.md" or is_slow(block))
                slow = slow or block.text.startswith(("jaxdl report", "jaxdl compare"))
                marks = [pytest.mark.slow] if slow else []
                yield pytest.param(block, id=f"{readme}:{block.number} {title[:60]}", marks=marks)


def overrides(words):
    """What makes a command small: its data, where it names none, and two steps."""
    name = option(words, "--config")
    if not name or words[1] not in ("train", "check", "sweep"):
        return []
    if Path(name).stem not in shipped():  # of the README itself, or of `init`: small already
        return ["--config.training.steps=2"] if name == "houses.py" else []
    own = [w[len("--config.") :] for w in words if w.startswith("--config.")]
    steps = 3 if "--halving" in words else 2  # rungs are a third of one another
    small = [f"training.steps={steps}", f"training.evaluate_every.steps={steps}"]
    if not any(w.startswith("data.source=") for w in own):
        small.append("data.twin=true")
    single = [w for w in own if w.startswith("data.") and "=" in w and words[1] != "sweep"]
    config = override(cfg.read(Path(name).stem), single, NODES)
    data = config["data"]
    if "crop" in data:
        small += ["data.crop.size=64", "data.crop.resize=72"]
    if "crop" in data or data["source"] in ("images", "csv", "coco"):
        small += ["training.batch_size=4", "training.eval_batch_size=4"]
    if isinstance(data.get("size"), tuple):  # of a detector
        small.append("data.size=(64, 96)")
    return [f"--config.{override}" for override in small]


def run(words, folder, **environment):
    """Run a command in a folder, as a user would; what it printed.

    One of jaxdl runs in this process, where JAX need not be imported anew, unless it sets variables
    of the environment.
    """
    if words[0] == "jaxdl" and not environment:
        out, err = StringIO(), StringIO()
        with contextlib.chdir(folder), redirect_stdout(out), redirect_stderr(err):
            try:
                main(words[1:])
            except SystemExit as stop:
                assert not stop.code, f"{' '.join(words)}\n{out.getvalue()}{err.getvalue()}"
        return out.getvalue()
    if "XLA_FLAGS" in environment:  # beside those of the tests
        environment["XLA_FLAGS"] += f" {os.environ.get('XLA_FLAGS', '')}"
    python = [sys.executable, "-P", "-m", "jaxdl"] if words[0] == "jaxdl" else [sys.executable]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*python, *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each README, with the files that its commands name."""
    made = {}

    def folder(readme):
        if readme not in made:
            made[readme] = small_files(tmp_path_factory.mktemp("readme"))
            for block in blocks(readme):
                if named := re.match(r"# (\w+\.py)\n", block.text):
                    (made[readme] / named[1]).write_text(block.text)
        return made[readme]

    return folder


def small_files(folder):
    """Photos, tables, a text, and boxes, each a few."""
    rng = np.random.default_rng(0)

    def picture(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 90, 3), np.uint8)).save(path)

    picture(folder / "photo.jpg")
    for kind in ("cat", "dog", "owl"):
        for i in range(20):
            picture(folder / "photos" / kind / f"{i}.png")
    for split in ("train", "val"):
        for kind in range(17):
            picture(folder / "flowers" / split / f"flower{kind:02}" / "0.jpg")
        for kind in range(3):
            for i in range(3):
                picture(folder / "ILSVRC" / split / f"n0000000{kind}" / f"{i}.JPEG")
        images = [{"id": i, "file_name": f"{i}.jpg", "height": 80, "width": 90} for i in range(8)]
        boxes = [
            {
                "id": i,
                "image_id": i,
                "category_id": 1 + i % 2,
                "bbox": [5, 10, 30, 40],
                "iscrowd": 0,
            }
            for i in range(8)
        ]
        kinds = [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}]
        for image in images:
            picture(folder / "cells" / f"{split}2017" / image["file_name"])
        document = {"images": images, "annotations": boxes, "categories": kinds}
        (folder / "cells" / "annotations").mkdir(exist_ok=True)
        file = folder / "cells" / "annotations" / f"instances_{split}2017.json"
        file.write_text(json.dumps(document))
    rows = [
        f"{area},{rooms},{1000 * area + 7 * rooms}" for area, rooms in rng.integers(1, 99, (60, 2))
    ]
    (folder / "houses.csv").write_text("\n".join(["area,rooms,price", *rows]) + "\n")
    (folder / "book.txt").write_text("Once upon a time there was a README. " * 2000)
    return folder


def pretrained(folder):
    """A ResNet-18 as others would hand it over."""
    import jax
    from safetensors.numpy import save_file

    from jaxdl.checkpointing.weight_names import flat
    from jaxdl.models import MODELS, functional

    model = functional(MODELS["resnet"](outputs=1000, depth=18))
    image = np.zeros((1, 64, 64, 3), np.float32)
    weights = flat(*jax.jit(model.init)(jax.random.key(0), (image,)))
    save_file({k: np.asarray(v) for k, v in weights.items()}, folder / "resnet18.safetensors")


def supply(words, folder):
    """Train what a command uses, if no command of this file has."""
    workdirs = [w for w in words if w.startswith("runs/")]
    for workdir in workdirs or [None]:
        supply_one(words, workdir, folder)


def supply_one(words, workdir, folder):
    if option(words, "--config") == "houses.py" and not (folder / "houses.py").exists():
        run(["jaxdl", "init", "houses.csv", "--output", "houses.py"], folder)
    if option(words, "--config") or workdir is None or (folder / workdir).exists():
        return
    command = ["jaxdl", "train", "--config", f"configs/{STAND_INS[workdir]}.py"]
    if workdir == "runs/sweep":
        command = [*command[:1], "sweep", *command[2:], "--seeds", "2"]
    run([*command, *overrides(command), "--workdir", workdir], folder)


@pytest.mark.parametrize("block", [*parameters()])
def test_block(block, folders):
    folder = folders(block.readme)
    if block.kind == "python":
        if not re.match(r"# (\w+\.py)\n", block.text):
            if workdir := re.search(r"\bruns/\w+", block.text):
                supply(["jaxdl", workdir[0]], folder)
            if "digits/model" in block.text and not (folder / "digits").exists():
                words = shlex.split("jaxdl export --workdir runs/digits --output digits")
                supply(words, folder)
                run(words, folder)
            (folder / "script.py").write_text(block.text)
            printed = run(["python", "script.py"], folder)
            if accuracy := re.search(r"'accuracy': ([\d.]+)", printed):
                assert float(accuracy[1]) > 0.9
        return
    if reason := elsewhere(block):
        pytest.skip(reason)
    words = [ANOTHER_INPUT.get(word, word) for word in words_of(block.text)]
    environment = dict(w.split("=", 1) for w in words[: words.index("jaxdl")])
    words = words[words.index("jaxdl") :]
    if words[1] in ("train", "sweep") and "--workdir" not in words:
        words += ["--workdir", "runs/unnamed"]
    if "resnet18.safetensors" in block.text:
        pretrained(folder)
    supply(words, folder)
    printed = run([*words, *overrides(words)], folder, **environment)
    if words[1] in ("train", "evaluate"):
        assert re.search(r"(test|validation)/\w+", printed)


def test_every_config_and_file_they_name_is_there():
    named = ""
    for readme in READMES:
        if (ROOT / readme).exists():
            text = (ROOT / readme).read_text()
            for name in re.findall(r"configs/([a-z]\w*)\.py", text):
                assert name in shipped()
            for path in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
                assert (ROOT / Path(readme).parent / path).exists(), f"{readme}: {path}"
            named += text
    for name in shipped():
        assert f"`{name}`" in named, f"{name} is missing from the table of configs"
