"""What is said of a program that was compiled for chips that are not here."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxdl.chips import CHIPS, GIB
from jaxdl.data import Crop, LazyImages, Table
from jaxdl.data.images.lazy import EncodedInMemory
from jaxdl.errors import UserError
from jaxdl.targets import cache, report
from jaxdl.targets import compiled as compilers
from jaxdl.targets.compiled import Compiled, TooLarge
from jaxdl.targets.target import Target
from jaxdl.training.build import build_experiment, read_config

CHIP = CHIPS["v5e"]
PROGRAM = Compiled(
    what="train step",
    examples=80,
    held=2 * GIB,
    work=3 * GIB,
    flops={"f32": 197e12},
    traffic=3 * 819e9,
    collectives={
        ("all-reduce", "count"): 2,
        ("all-reduce", "bytes"): 5 * 2**20,
        ("all-reduce", "sent"): 2 * 200e9,
    },
)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch, tmp_path):
    """A cache that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_roofline():
    bounds = report.Roofline.of(PROGRAM, CHIP)
    assert (bounds.arithmetic, bounds.memory, bounds.network) == pytest.approx((1, 3, 2))
    assert bounds.seconds == pytest.approx(3)
    assert bounds.binds == "memory"


def test_what_is_said():
    text = "\n".join(report.lines(PROGRAM, CHIP, chips=8))
    assert "train step of 80 examples" in text
    assert (
        "2,048.0 MiB of arguments and 3,072.0 MiB of work space per chip: fits into 16.0 GiB"
        in text
    )
    assert (
        "19,700,000.000 MFLOP and 245,700.000 MB of memory traffic per example" in text
    )  # 10 a chip
    assert "2 all-reduce of 5.0 MiB" in text
    assert "memory binds, at most 27 examples/s" in text


@pytest.mark.parametrize("limit", [0, 1, 99, 1000, 1023])
@pytest.mark.parametrize("guess", [0, 100, 980, 5000])
def test_the_largest_that_fits(limit, guess):
    tried = []
    best = report.largest(1024, lambda n: tried.append(n) or n <= limit, guess)
    assert limit / 1.12 - 1 <= best <= limit
    assert all(0 < n < 1024 for n in tried)


def test_a_good_guess_takes_two_tries():
    tried = []
    assert report.largest(10_000, lambda n: tried.append(n) or n <= 520, 500) == 500
    assert tried == [500, 550]


def test_what_the_compiler_of_a_tpu_refuses():
    said = "Ran out of memory in memory space hbm. Used 31.94G of 15.75G hbm. Exceeded by 16.19G."
    assert compilers._exceeded(said) == pytest.approx((31.94 * GIB, 15.75 * GIB))
    said = "memory required for HLO temporaries (68.92G) exceeds available HBM (15.75G)."
    assert compilers._exceeded(said) == pytest.approx((68.92 * GIB, 15.75 * GIB))
    assert compilers._exceeded("INTERNAL: 3 of 4") is None


@pytest.mark.parametrize("platform", ["tpu:v5e:2x4", "cuda:h100:8"])
def test_a_compiler_that_is_not_installed(monkeypatch, platform):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    kind = platform.partition(":")[0]
    message = rf"{platform}: its compiler is not installed; .* pip install -e '.\[{kind}\]'"
    with pytest.raises(UserError, match=message):
        report.check_targets({}, [Target.of(platform)])


def on_this_machine(monkeypatch):
    """Compilers of which there are none: the devices are those of this machine."""
    monkeypatch.setattr(compilers, "require", lambda target: None)
    monkeypatch.setattr(compilers, "prepare", lambda: None)
    monkeypatch.setattr(compilers, "devices", lambda target: jax.devices()[:1])
    monkeypatch.setattr(compilers, "_WITHOUT_A_DEVICE", {"tpu": {}, "cuda": {}})


@pytest.fixture
def compilations(monkeypatch):
    """The programs that are compiled, for devices of this machine."""
    on_this_machine(monkeypatch)
    compiled, programs = compilers._compiled, []

    def counted(lowered, target, what):
        programs.append(what)
        return compiled(lowered, target, what)

    monkeypatch.setattr(compilers, "_compiled", counted)
    return programs


def told(*overrides, target="tpu:v5e:1x1"):
    said = []
    config = read_config("digits_softmax", ["model.outputs=10", *overrides])
    report.check_targets(config, [Target.of(target)], said.append)
    return said


def test_a_program_is_compiled_once(compilations):
    first, second = told(), told()
    assert compilations == ["train step", "evaluation"]
    assert "train step of 100 examples" in first
    assert [line.replace(", from the cache", "") for line in second] == first
    assert sum("from the cache" in line for line in second) == 2


def test_what_decides_a_result_is_compiled_anew(compilations, monkeypatch):
    told()
    told("training.batch_size=50")  # the evaluation is the same
    assert compilations == ["train step", "evaluation", "train step"]
    told(target="tpu:v6e:1x1")
    assert len(compilations) == 5
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--some_flag=1")
    told()
    assert len(compilations) == 7
    monkeypatch.setattr(cache, "_version", lambda package: "another")
    told()
    assert len(compilations) == 9


def test_a_damaged_result_is_compiled_anew(compilations, tmp_path):
    first = told()
    file = next((tmp_path / "jaxdl" / "targets").iterdir())
    sound = file.read_bytes()
    for damaged in (b"", sound[:-1], sound.replace(b"1", b"2"), b"\xff" * 80):
        file.write_bytes(damaged)
        compilations.clear()
        assert [line.replace(", from the cache", "") for line in told()] == first
        assert len(compilations) == 1
        assert file.read_bytes() == sound


def test_that_it_does_not_fit_is_kept_too(compilations, monkeypatch):
    compiled = compilers._compiled

    def refused(lowered, target, what):
        found = compiled(lowered, target, what)
        return {"too_large": (17 * GIB, 15.75 * GIB)} if what == "evaluation" else found

    monkeypatch.setattr(compilers, "_compiled", refused)
    for _ in range(2):
        with pytest.raises(UserError, match=r"needs 17,408.0 MiB of 16,128.0 MiB; lower it"):
            told()
    assert compilations == ["train step", "evaluation"]


def test_without_a_place_to_write(compilations, tmp_path):
    (tmp_path / "jaxdl").touch()
    assert told() == told()
    assert len(compilations) == 4


def test_what_a_machine_must_decode():
    encoded = EncodedInMemory([b""] * 3, "here")
    images = Table({"image": LazyImages(encoded, Crop(8), threads=1), "label": np.arange(3)})
    eight = report.decoding(PROGRAM, Target.of("tpu:v5e:2x4"), images)
    assert "each of 2 machines must decode 13 images/s: about 1 core of 3,000 images/s" in eight
    many = replace(PROGRAM, examples=80_000)
    one = report.decoding(many, Target.of("tpu:v5e:1x1"), images)
    assert "the machine must decode 26,667 images/s: about 9 cores of 3,000 images/s" in one
    held = Table({"image": np.zeros((3, 8, 8, 1)), "label": np.arange(3)})
    assert report.decoding(PROGRAM, Target.of("cuda:a100"), held) is None


def test_a_batch_beyond_the_examples_that_there_are(monkeypatch):
    on_this_machine(monkeypatch)
    config = read_config("digits_mlp", ["training.batch_size=4096", "model.outputs=10"])
    with pytest.raises(UserError, match="4096 does not fit a training split"):
        build_experiment(config)
    said = []
    report.check_targets(config, [Target.of("tpu:v5e:1x1")], said.append)
    text = "\n".join(said)
    assert "train step of 4,096 examples" in text
    assert "evaluation of 256 examples" in text
    assert "no traffic" in text


def test_a_batch_that_does_not_fit(monkeypatch):
    on_this_machine(monkeypatch)
    compiled = report.compile_for

    def refused(experiment, target, what, busy):
        if experiment.order.batch_size > 500 and what == "train step":
            raise TooLarge(17 * GIB, 15.75 * GIB)
        return compiled(experiment, target, what, busy)

    monkeypatch.setattr(report, "compile_for", refused)
    config = read_config("digits_mlp", ["training.batch_size=1024", "model.outputs=10"])
    message = (
        r"tpu:v5e:1x1: config.training.batch_size needs 17,408.0 MiB of 16,128.0 MiB; "
        "the largest that fits is about (4[5-9].|500)"
    )
    with pytest.raises(UserError, match=message):
        report.check_targets(config, [Target.of("tpu:v5e:1x1")], lambda line: None)


def test_cudnn_cannot_be_compiled_without_a_device():
    config = {"model": {"name": "language_model", "implementation": "cudnn"}, "seed": 1}
    on_gpu = compilers.compilable(config, Target.of("cuda:a100"))
    assert on_gpu == {**config, "model": {"name": "language_model", "implementation": "scan"}}
    assert compilers.compilable(config, Target.of("tpu:v5e:1x1")) is config  # refused, as ever


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "package"),
    [("tpu:v5e:2x4", "libtpu"), ("tpu:v4:2x2x1", "libtpu"), ("cuda:h100:8", "jax_plugins")],
)
def test_the_compilers(target, package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    words = ["check", "--config", "digits_cnn", "--config.training.batch_size=96"]
    command = [sys.executable, "-m", "jaxdl", *words, "--target", target]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fits into") == 2
    assert "takes     3.126 MFLOP" in done.stdout  # of products and convolutions, on any chip
    assert "all-reduce" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout.count("from the cache") == 2
