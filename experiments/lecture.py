"""The whole lecture on one page: every system, its published number, and what was reached here.

    python experiments/lecture.py --workdir runs/lecture             what is missing is trained
    python experiments/lecture.py --workdir runs/twins --quick       the same on twins of the data
    python experiments/lecture.py --workdir runs/lecture --longest 10 --seeds 3       what is small

A run is WORKDIR/CONFIG-SEED: one that has finished is used, whoever trained it, and one that was
stopped goes on, as does this command. The page, lecture.html and lecture.md, is written after each
system. What takes longer than `--longest` minutes on two cores, as ImageNet does, is left out
unless its run is there; `--files` is a folder with files that configs name by their file names.
"""

import argparse
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from arguments import in_one_line
from lecture_page import Entry, as_html, as_markdown

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.configs import LECTURE, summary
from jaxdl.errors import UserError, suggestion
from jaxdl.files import replace_text
from jaxdl.terminal import say
from jaxdl.training.build import read_config, resolved
from jaxdl.training.settings import Target

HERE = Path(__file__).parent

# Minutes of one run on two cores, as in RESULTS.md; of ImageNet and COCO from the speed of a step.
MINUTES = {
    "pedestrians_logistic": 2, "pedestrians_cnn": 3, "mnist_cnn": 6, "shakespeare_lstm": 10,
    "shakespeare_large": 60, "shakespeare_gru": 180, "folk_lstm": 60, "music_lstm": 8,
    "nottingham_lstm": 5, "rows_mnist_lstm": 2, "pixels_mnist_lstm": 60, "sentiment_lstm": 3,
    "translation_lstm": 20, "addition_lstm": 16, "captions_lstm": 1, "imagenet_alexnet": 24e3,
    "imagenet_vgg19": 400e3, "imagenet_googlenet": 60e3, "cifar10_fast": 20, "cifar10_wide": 90,
    "cifar10_plain20": 90, "cifar10_plain56": 260, "cifar10_resnet20": 90, "cifar10_resnet56": 260,
    "cifar10_resnet110": 520, "imagenette_resnet18": 40, "imagenet_resnet18": 60e3,
    "imagenet_resnet34": 110e3, "imagenet_resnet50": 150e3, "imagenet_resnet101": 280e3,
    "imagenet_resnet152": 400e3, "driving_pilotnet": 4, "driving_lstm": 6, "shapes_fcos": 4,
    "bccd_fcos": 25, "bccd_retinanet": 25, "coco_fcos": 200e3, "mnist_autoencoder": 10,
    "mnist_vae": 5, "imagenette_alexnet": 15, "shapes_localization": 4, "shapes_faster_rcnn": 6,
    "bccd_faster_rcnn": 15,
}  # fmt: skip
MINUTE_OF_OTHERS = 0.2
MINUTE_OF_A_TWIN = 0.5


class Study(NamedTuple):
    """A script here; `{name}` in its arguments is a run of this config, `{figure}` a PNG file.

    What `quick` adds to them is for a walk on twins of the data.
    """

    script: str
    arguments: str
    published: str
    quick: str = ""

    @property
    def name(self) -> str:
        return Path(self.script).stem


STUDIES = {
    "Fitting a curve": (
        Study("bishop_tables.py", "--figure {figure}", "Bishop 2006, tables 1.1 and 1.2"),
    ),
    "A line between two classes": (
        Study(
            "pedestrians.py",
            "{pedestrians_logistic} {pedestrians_cnn} --figure {figure}",
            "HOG and a linear SVM miss 10 % at one false alarm in 10,000 (Dalal and Triggs 2005)",
            "--twin",
        ),
    ),
    "Sequences": (Study("sentiment_baseline.py", "", "", "--twin"),),
    "Deep networks for images": (
        Study(
            "shallow_features.py",
            "--figure {figure}",
            "15 scenes: 72.2 % without the pyramid, 81.1 % with it (Lazebnik et al. 2006)",
            "--twin",
        ),
        Study(
            "understanding_alexnet.py",
            "{imagenette_alexnet} --figure {figure}",
            "44 % of InceptionV1's first filters are Gabor functions (Olah et al. 2020)",
        ),
        Study("style_transfer.py", "--workdir {imagenette_alexnet} --figure {figure}", ""),
    ),
    "Residual networks": (
        Study(
            "residual_ensembles.py",
            "{cifar10_resnet20} {cifar10_plain20} --figure {figure}",
            "of 54 blocks one hardly matters, the error grows smoothly with the number that is "
            "deleted, and a plain net falls to chance (Veit, Wilber and Belongie 2016)",
        ),
    ),
    "Without labels": (
        Study(
            "clusters.py",
            "--workdir {mnist_autoencoder}",
            "PCA 13.87 (Hinton and Salakhutdinov 2006); inertia 69,545, homogeneity 0.598, "
            "ARI 0.469 (scikit-learn's example)",
            "--twin",
        ),
        Study(
            "coates.py",
            "",
            "77.9 % with 1,600 centroids, 79.6 % with 4,000 (Coates et al. 2011)",
            "--twin --centroids 50 --patches 20000",
        ),
    ),
}


Chapters = dict[str, tuple[str, ...]]


def chosen(names: list[str]) -> tuple[Chapters, dict[str, tuple[Study, ...]]]:
    """The chapters with these configs and studies alone.

    Raises:
      UserError: there is none of a name.
    """
    known = {name for configs in LECTURE.values() for name in configs}
    known |= {study.name for studies in STUDIES.values() for study in studies}
    if wrong := sorted(set(names) - known):
        raise UserError(f"--only {wrong[0]}: no such system; {suggestion(wrong[0], known)}")
    configs = {
        chapter: tuple(name for name in each if name in names) for chapter, each in LECTURE.items()
    }
    studies = {
        chapter: tuple(study for study in each if study.name in names)
        for chapter, each in STUDIES.items()
    }
    return {c: each for c, each in configs.items() if each or studies.get(c)}, studies


class Walk:
    """The runs and studies of a folder, and how to make those that are missing."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder = Path(options.workdir)
        self.seeds, self.longest = range(options.seeds), options.longest
        self.quick, self.files = options.quick, options.files
        self.failed: dict[Path, str] = {}
        self.configs, self.studies = LECTURE, STUDIES
        if options.only:
            self.configs, self.studies = chosen(options.only)
        if self.files and not Path(self.files).is_dir():
            raise UserError(f"--files {self.files}: not a folder")

    def runs(self, name: str) -> list[Path]:
        """The folders of a config's runs, one a seed."""
        return [self.folder / f"{name}-{seed}" for seed in self.seeds]

    def fits(self, name: str) -> bool:
        """Whether a config is short enough to be trained here."""
        return self.quick or MINUTES.get(name, 0) <= self.longest

    def missing(self, name: str) -> list[Path]:
        """The runs of a config that have not finished and have not failed."""
        if not self.fits(name):
            return []
        return [run for run in self.runs(name) if run not in self.failed and not Run(run).result()]

    def left(self) -> str:
        """What the rest will take."""
        count, minutes = 0, 0.0
        for name in (name for names in self.configs.values() for name in names):
            missing = len(self.missing(name))
            each = MINUTE_OF_A_TWIN if self.quick else MINUTES.get(name, MINUTE_OF_OTHERS)
            count, minutes = count + missing, minutes + missing * each
        time = f"{minutes / 60:.1f} hours" if minutes > 90 else f"{minutes:.0f} minutes"
        runs = f"{count} run{'s' * (count > 1)}"
        return f"{runs} left, about {time} on two cores" if count else "no run left"

    def overrides(self, name: str, run: Path) -> list[str]:
        """What is set beside the shipped config."""
        path = cfg.read(name)["data"].get("path")
        place = next(Path(self.files).rglob(Path(path).name), None) if self.files and path else None
        return [
            f"--config.seed={run.name.rpartition('-')[2]}",
            *(["--config.data.twin=true"] if self.quick else []),
            *([f"--config.data.path={place}"] if place and not self.quick else []),
        ]

    def train(self, name: str, run: Path) -> None:
        """Train a run to its end, or note why that cannot be."""
        arguments = ["train", "--config", name, "--workdir", str(run), *self.overrides(name, run)]
        self.call(run, ["-m", "jaxdl", *arguments])

    def needed(self, study: Study) -> dict[str, Path]:
        """The runs that a study reads."""
        names = re.findall(r"{(\w+)}", study.arguments)
        return {name: self.runs(name)[0] for name in names if name != "figure"}

    def arguments(self, study: Study) -> list[str]:
        """What follows a study's script on the command line."""
        paths = {"figure": self.folder / f"{study.name}.png", **self.needed(study)}
        words = f"{study.arguments} {study.quick if self.quick else ''}".split()
        return [word.format(**paths) for word in words]

    def run(self, study: Study) -> None:
        """Run a study whose runs are there, or note why that cannot be."""
        stem, needed = self.folder / study.name, self.needed(study)
        if gone := [name for name, run in needed.items() if not Run(run).result()]:
            self.failed[stem] = f"needs a run of {', '.join(gone)}"
        if stem in self.failed or stem.with_suffix(".txt").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        printed = self.call(stem, [str(HERE / study.script), *self.arguments(study)])
        if printed is not None:
            replace_text(stem.with_suffix(".txt"), printed)

    def call(self, work: Path, words: list[str]) -> str | None:
        """What a Python program prints; None, and the reason noted, if it fails."""
        say(f"{self.left()}; now {work.name}")
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        self.failed[work] = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        say(f"{work.name}: {self.failed[work]}")
        return None


def config_entry(walk: Walk, name: str) -> Entry:
    """What there is to say of a config's runs."""
    config = read_config(name)
    about = summary(name)
    target = config["target"]
    published = f"{target['metric']} {target['value']:g} ({target['source']})" if target else ""
    command = f"jaxdl train --config {name} --workdir {walk.runs(name)[0]}"
    finished = [run for run in walk.runs(name) if Run(run).result()]
    if not finished:
        reason = next((walk.failed[run] for run in walk.runs(name) if run in walk.failed), None)
        days = MINUTES.get(name, 0) / 60 / 24
        too_long = f"not run: about {days:,.0f} days on two cores"
        return Entry(
            name, about, command, published, reason or ("" if walk.fits(name) else too_long)
        )
    results = [Run(run).result() or {} for run in finished]
    verdict = {True: "met", False: "not met", None: ""}
    return Entry(
        name,
        about,
        command,
        published,
        reached(results, target) + ("" if walk.quick else unlike_shipped(config, finished[0])),
        "" if walk.quick else verdict[met(results, target)],
        picture=picture(finished[0], config["figures"]),
    )


def reached(results: list[dict[str, Any]], target: Any) -> str:
    """The metrics of a config as mean ± std over its seeds: that of the target, or up to three."""
    metrics = results[0]["metrics"]
    names = [target["metric"]] if target and target["metric"] in metrics else list(metrics)[-3:]
    texts = []
    for name in names:
        values = [result["metrics"][name] for result in results]
        if None in values:
            texts.append(f"{name} not finite")
            continue
        spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        texts.append(f"{name} {statistics.mean(values):.5g}{spread}")
    count = f"{len(results)} seeds" if len(results) > 1 else f"seed {results[0]['seed']}"
    return f"{', '.join(texts)} ({count})"


def met(results: list[dict[str, Any]], target: Any) -> bool | None:
    """Whether the mean over seeds meets the target; None if there is none to meet."""
    if not target or any(result["met"] is None for result in results):
        return None
    mean = statistics.mean(result["metrics"][target["metric"]] for result in results)
    return Target(**target).met({target["metric"]: mean})


def unlike_shipped(config: dict[str, Any], run: Path) -> str:
    """In which settings a run differs from its config; the seed and the place of the data aside."""
    return "".join(
        f"; {line}"
        for line in cfg.differences(config, resolved(Run(run).config()))
        if not re.match(r"config\.(seed|data\.path):", line)
    )


def picture(run: Path, figures: Any) -> Path | None:
    """The first figure that a config names, or the learning curves."""
    names = [*(name.rpartition(":")[2] for name in figures or ()), "learning_curves"]
    paths = (Run(run).figures / f"{name}.png" for name in names)
    return next((path for path in paths if path.exists()), None)


def study_entry(walk: Walk, study: Study) -> Entry:
    """What there is to say of a study."""
    document = (HERE / study.script).read_text("utf-8").split('"""')[1]
    about = " ".join(document.strip().split("\n\n")[0].split())
    command = " ".join(["python", f"experiments/{study.script}", *walk.arguments(study)])
    stem = walk.folder / study.name
    text, drawn = stem.with_suffix(".txt"), stem.with_suffix(".png")
    return Entry(
        study.name,
        about,
        command,
        study.published,
        walk.failed.get(stem, ""),
        details=text.read_text("utf-8") if text.exists() else "",
        picture=drawn if drawn.exists() else None,
    )


def entries(walk: Walk) -> dict[str, list[Entry]]:
    """The systems of each chapter."""
    return {
        chapter: [
            *(config_entry(walk, name) for name in names),
            *(study_entry(walk, study) for study in walk.studies.get(chapter, ())),
        ]
        for chapter, names in walk.configs.items()
    }


def write(walk: Walk) -> None:
    """Write both pages."""
    chapters, left = entries(walk), walk.left()
    walk.folder.mkdir(parents=True, exist_ok=True)
    replace_text(walk.folder / "lecture.html", as_html(chapters, left))
    replace_text(walk.folder / "lecture.md", as_markdown(chapters, left, walk.folder))


def main(options: argparse.Namespace) -> None:
    walk = Walk(options)
    try:
        for chapter, names in walk.configs.items():
            for name in names:
                for run in walk.missing(name):
                    walk.train(name, run)
                    write(walk)
            for study in walk.studies.get(chapter, ()):
                walk.run(study)
                write(walk)
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
    write(walk)
    say(f"the page is {walk.folder / 'lecture.html'}, and {walk.folder / 'lecture.md'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="of the runs and the page")
    parser.add_argument("--quick", action="store_true", help="on twins of the data, offline")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these configs and studies")
    parser.add_argument("--seeds", type=int, choices=range(1, 101), metavar="N", default=1,
                        help="runs a config (1)")  # fmt: skip
    parser.add_argument("--longest", type=float, default=300, help="minutes of a run (300)")
    parser.add_argument("--files", help="a folder with the files that configs name")
    with in_one_line(parser):
        main(parser.parse_args())
