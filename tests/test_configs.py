"""Every shipped config, offline on its twin: check, train, save, restore, evaluate."""

import pytest

from jaxdl import config as cfg
from jaxdl.runs import Run
from jaxdl.training import devices
from jaxdl.training.check import check
from jaxdl.training.experiment import REGISTRIES, Experiment
from jaxdl.training.loop import train
from jaxdl.training.measure import measure


@pytest.mark.parametrize("name", sorted(cfg.shipped()))
def test_config(name, tmp_path, monkeypatch):
    overrides = ["data.twin=true", "training.steps=2", "training.evaluate_every.steps=2"]
    config = cfg.read(name, overrides, REGISTRIES)
    if "buckets" in config["training"]:  # two show it, and each takes seconds to compile
        config["training"]["buckets"] = 2
    experiment = Experiment.of(config)
    check(experiment, say=lambda line: None)

    compiled = []
    jit = devices.jit
    monkeypatch.setattr(devices, "jit", lambda f, **kw: compiled.append(f.__name__) or jit(f, **kw))
    run = Run(tmp_path)
    run.claim(config)
    result = train(experiment, run)
    assert result["step"] == 2
    assert set(result["examples"]) == set(experiment.evaluated)
    # Training, all evaluations and all writing are compiled once each.
    assert compiled == ["initial", "call", "evaluation"] + ["writing"] * bool(experiment.writes)

    step, metrics, _ = measure(Experiment.of(run.config()), run)
    assert (step, metrics) == (2, result["metrics"])
    assert (run.figures / "learning_curves.png").exists()


@pytest.mark.parametrize("name", sorted(cfg.shipped()))
def test_config_says_what_it_is(name):
    document = (cfg.shipped()[name]).read_text()
    assert document.startswith('"""') and f"jaxdl train --config configs/{name}.py" in document
