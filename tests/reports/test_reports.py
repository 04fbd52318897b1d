"""Runs beside one another, held against what they say, and on a page."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from jaxdl.checkpointing.run_directory import Run
from jaxdl.reports.saved_runs import runs_of
from jaxdl.training.start import train_config

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": ()},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {"batch_size": 50, "steps": 6, "log_every": {"steps": 2}},
    "target": {"metric": "test/accuracy", "value": 0.1, "source": "<b>a & b</b>"},
    "figures": ("confusion",),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, of which the second has another rate."""
    folder = tmp_path_factory.mktemp("runs")
    for name, rate in (("slow", 0.1), ("fast", 0.5)):
        optimizer = {**CONFIG["optimizer"], "learning_rate": rate}
        train_config({**CONFIG, "optimizer": optimizer}, Run(folder / name))
    return folder


@pytest.fixture
def copied(runs, tmp_path):
    """A run that may be changed."""
    shutil.copytree(runs / "slow", tmp_path / "run")
    return tmp_path / "run"


def edited(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# ---- compare


def test_configs_and_results_stand_beside_one_another(runs, call, tmp_path):
    figure = tmp_path / "curves.png"
    status, out, err = call("compare", runs / "slow", runs / "fast", "--figure", figure)
    assert (status, err) == (0, "") and figure.stat().st_size > 10_000
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["config", "slow", "fast"]
    assert lines[1] == ["optimizer.learning_rate", "0.1", "0.5"] and lines[2] == []
    row = next(line for line in lines if line[:1] == ["test/accuracy"])
    results = [Run(runs / name).result()["metrics"]["test/accuracy"] for name in ("slow", "fast")]
    assert [float(cell) for cell in row[1:]] == pytest.approx(results, rel=1e-5)
    assert "target test/accuracy 0.1: met" in out


def test_a_run_that_has_not_finished_says_so(runs, copied, call):
    (copied / "result.json").unlink()
    status, out, _ = call("compare", copied, runs / "fast")
    assert status == 0 and "not finished, at step 6" in out
    edited(copied / "data.json", lambda data: data["sha256"].update(train="0" * 64))
    row = "SHA-256 of data train    000000000000"
    assert row in call("compare", copied, runs / "fast")[1]


WRONG = [
    ((), "the following arguments are required: RUN"),
    (("nowhere",), "nowhere: holds no run (no config.json)"),
    (("slow", "slow"), "slow: is named twice; name it once"),
    (("slow", "--metric", "test/acuracy"), "no 'test/acuracy'; did you mean 'test/accuracy'?"),
    (("slow", "--figure", "a.jpg"), "--figure a.jpg: name a file that ends in .png or .pdf"),
    (("slow", "--figure", "slow"), "--figure slow: is a directory"),
]


@pytest.mark.parametrize(("words", "line"), WRONG)
def test_what_cannot_be_compared_is_one_line(runs, call, monkeypatch, words, line):
    monkeypatch.chdir(runs)
    status, out, err = call("compare", *words)
    assert (status, out, err.count("\n")) == (2, "", 1) and line in err


# ---- verify


def test_a_result_stands(runs, call):
    status, out, err = call("verify", runs / "slow", "--tolerance", "0")
    assert (status, err) == (0, "")
    marks = dict(re.findall(r"^(\w+) +(ok|WRONG) ", out, re.M))
    parts = ("checkpoint", "config", "data", "parameters", "metrics", "target")
    assert marks == dict.fromkeys(parts, "ok")
    assert "to the last digit" in out and out.endswith("slow stands\n")


CHANGES = {
    "metrics": ("result.json", lambda r: r["metrics"].update({"test/accuracy": 0.99})),
    "parameters": ("result.json", lambda r: r.update(params_sha256="0" * 64)),
    "examples": ("result.json", lambda r: r["examples"].update(test=10_000)),
    "target": ("result.json", lambda r: r.update(met=False)),
    "config": ("config.json", lambda c: c["optimizer"].update(learning_rate=0.2)),
    "data": ("data.json", lambda d: d["sha256"].update(test="0" * 64)),
}


@pytest.mark.parametrize("part", CHANGES)
def test_whatever_is_changed_by_hand_is_found(copied, call, part):
    name, change = CHANGES[part]
    edited(copied / name, change)
    status, out, err = call("verify", copied)
    assert (status, err) == (1, "") and f"{part:12} WRONG" in out
    assert out.endswith("does NOT stand\n")


def test_a_damaged_checkpoint_is_found(copied, call):
    (copied / "checkpoints" / "6" / "state" / "_METADATA").write_text("{}")
    status, out, _ = call("verify", copied)
    assert status == 1 and "checkpoint   WRONG" in out
    shutil.rmtree(copied / "checkpoints" / "6")
    status, out, _ = call("verify", copied)
    assert status == 1 and "which the result belongs to, is missing" in out


def test_what_cannot_be_verified_is_one_line(copied, call):
    (copied / "result.json").unlink()
    for words, line in (
        ((copied,), "has no result.json to verify; it has not finished"),
        ((copied.parent,), "holds no run (no config.json)"),
        ((copied, "--tolerance", "1"), "expected a number from 0 to 1, such as 1e-5, got '1'"),
    ):
        status, _, err = call("verify", *words)
        assert status == 2 and line in err and err.count("\n") == 1


# ---- report


class Read(HTMLParser):
    """Tags, the text between them, and what is loaded."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.loads, self.open = [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for key, value in attributes if key in ("src", "href")]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_page_holds_all_and_needs_nothing_beside_it(runs, call, tmp_path):
    page = tmp_path / "page.html"
    words = (runs / "slow", runs / "fast", "--output", page, "--title", "<script>alert(1)</script>")
    status, out, err = call("report", *words)
    assert (status, err) == (0, "") and out.startswith("2 runs, ")
    read = Read(page.read_text())
    assert not read.open and "script" not in read.tags and "b" not in read.tags
    assert all(place.startswith("data:image/png;base64,") for place in read.loads)
    assert len(read.loads) == 5  # the curves of both, and two figures of each
    for said in ("<script>alert(1)</script>", "<b>a & b</b>", "optimizer.learning_rate", "met"):
        assert said in read.text
    status, _, err = call("report", *words)
    assert status == 2 and "exists" in err
    assert call("report", *words, "--force")[0] == 0
    assert call("report", runs / "slow", "--output", tmp_path / "a.pdf")[0] == 2
    status, _, err = call("report", runs / "slow", "--output", tmp_path / "b.html", "--metric", "x")
    assert status == 2 and "no 'x'" in err and not (tmp_path / "b.html").exists()


def test_a_file_that_is_no_picture_is_left_out_and_names_are_shown(copied, call, tmp_path):
    (copied / "figures" / "fake.png").write_text("<script>")
    os.symlink("/etc/hostname", copied / "figures" / "link.png")
    (copied / "metrics.jsonl").unlink()
    status, _, err = call("report", copied, "--output", tmp_path / "page.html")
    assert (status, err) == (0, "")
    text = (tmp_path / "page.html").read_text()
    assert "fake" not in text and "link.png" not in text and "Not drawn: " in text


def test_the_runs_of_a_sweep_are_named_by_their_points(runs, tmp_path):
    places = {"lr=0.1/seed=0": "slow", "lr=0.5/seed=0": "fast"}
    points = {place.partition("/")[0]: {**CONFIG, "seed": 0} for place in places}
    for place, name in places.items():
        shutil.copytree(runs / name, tmp_path / "sweep" / place)
    sweep = {"points": points, "values": {p: {"lr": p} for p in points}, "seeds": 1}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(sweep))
    assert [each.name for each in runs_of([str(tmp_path / "sweep")])] == list(places)


@pytest.mark.slow
def test_a_browser_shows_the_page(runs, call, tmp_path):
    """In headless Chromium, named by CHROMIUM or on the path: nothing is blocked or missing."""
    names = (os.environ.get("CHROMIUM"), "chromium-headless-shell", "chromium", "google-chrome")
    browser = next((found for name in names if name and (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs Chromium: set CHROMIUM to its program")
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    call("report", runs / "slow", runs / "fast", "--output", page)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--window-size=1200,3000", "--enable-logging=stderr"]
    show = [browser, *options, f"--screenshot={picture}", page.as_uri()]
    done = subprocess.run(show, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Refused to" not in done.stderr, done.stderr
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(3000, 1200, 3)
    dark = np.mean(pixels.min(axis=-1) < 128, axis=1)  # share of each line
    assert pixels.shape == (3000, 1200, 3) and np.mean(dark > 0) > 0.3
    blue = np.all(np.abs(pixels.astype(int) - (31, 119, 180)) < 12, axis=-1)  # of a curve
    assert blue.sum() > 500
    dom = subprocess.run([browser, *options, "--dump-dom", page.as_uri()], capture_output=True)
    assert dom.stdout.count(b"<img") == 5
