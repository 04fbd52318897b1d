"""Which draws a population can carry: numbers that are inputs of its compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace

import jax

from jaxdl.errors import UserError
from jaxdl.sweeps import search as searches
from jaxdl.sweeps.draws import Draw
from jaxdl.sweeps.population import RATE, Population, member_of
from jaxdl.sweeps.search import Search
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.experiment import Experiment
from jaxdl.training.settings import Best


def judged(search: Search) -> tuple[Experiment, Best]:
    """The experiment of a search, evaluated on the validation split alone, and its objective.

    Raises:
      UserError: it cannot be built, or its objective is not measured.
    """
    experiment = build_experiment(search.config)
    if experiment.training.patience:
        raise UserError(
            "config.training.patience: --halving itself stops runs early; set it to None"
        )
    objective = searches.check_objective(search, experiment, check_shapes(experiment))
    training = replace(experiment.training, best=None, evaluate=("validation",))
    return replace(experiment, training=training), objective


def population_of(search: Search, base: Experiment) -> Population:
    """The first members of a search, whose settings are inputs of their program.

    Args:
      search: its size is the number of members.
      base: its experiment, from `judged`.

    Raises:
      UserError: a draw is not valid, is not a number inside the program, or has no effect there;
        or the members cannot train in one program.
    """
    draws = search.ranges
    _check_carried(search, base)
    population = _carrying(draws, search, base, search.size)
    if reason := population.obstacle():
        for draw in draws:
            if _carrying([draw], search, base, 2).obstacle():
                raise _not_carried(draw, reason)
        raise UserError(f"--halving: cannot train in one program: {reason}; search with --trials")
    ignored = population.ignored()
    for draw in draws:
        if draw.key in ignored:
            raise _not_carried(draw, "it has no effect on training")
    return population


def _carrying(draws: Sequence[Draw], search: Search, base: Experiment, size: int) -> Population:
    """The first members, whose program has these draws as inputs."""
    keys = [RATE if _of_rate(draw.key) else draw.key for draw in draws]
    configs = [search.with_setting(search.setting(member)) for member in range(size)]
    return Population(member_of(base, configs[0]), configs, list(dict.fromkeys(keys)))


def _check_carried(search: Search, base: Experiment) -> None:
    """Refuse draws that are not valid, or are not numbers inside the program."""
    shapes = set()
    for draw, config in search.corners():
        numbers = not any(isinstance(end, str) for end in draw.ends())
        if not _of_rate(draw.key) and not (numbers and _is_input(base, draw.key)):
            raise _not_carried(draw, "it is not a number inside the program")
        with searches.blamed_on(draw):
            shapes.add(jax.tree.structure(member_of(base, config).abstract_state))
        if len(shapes) > 1:
            raise _not_carried(draw, "it changes the structure of the optimiser's state")


def _of_rate(key: str) -> bool:
    """Whether a key belongs to the learning rate, of which a population carries a table."""
    return key == RATE or key.startswith(f"{RATE}.")


def _is_input(experiment: Experiment, key: str) -> bool:
    """Whether a number of the config can be an input of the program, provided it can be traced."""
    group, _, leaf = key.partition(".")
    if group == "optimizer":
        return "." not in leaf
    # A task that keeps more than its fields may have computed it from them.
    task = experiment.task
    names = {field.name for field in fields(task)} if is_dataclass(task) else set[str]()
    return group == "task" and leaf in names and {*vars(task)} <= names


def _not_carried(draw: Draw, reason: str) -> UserError:
    return UserError(
        f"--draw {draw.given}: --halving cannot draw it: {reason}; search it with --trials"
    )
