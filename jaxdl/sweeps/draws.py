"""Ranges that a search draws settings from: `--draw KEY=low:high`, `log:low:high`, or `v1,v2`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl import config as cfg
from jaxdl.errors import UserError
from jaxdl.sweeps.sweep import alternatives

Setting = dict[str, Any]  # key of the config -> its value: a number, or the text of an override

_DIGITS = 6  # significant digits of a drawn number, to keep the commands that repeat it short
_SHAPES = "low:high, log:low:high, or values separated by commas"


@dataclass(frozen=True)
class Draw:
    """The range that one key of the config is drawn from.

    Attributes:
      key: such as 'optimizer.learning_rate.peak'.
      text: the range as it was given.
      low, high: the ends, both included; for choices, 0 and their number - 1.
      log: whether draws are uniform in the logarithm.
      whole: whether only whole numbers are drawn.
      choices: numbers or texts of overrides, drawn with equal probability; None for a range.
    """

    key: str
    text: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    choices: tuple[float | str, ...] | None = None

    @classmethod
    def of(cls, given: str, config: Mapping[str, Any]) -> Draw:
        """From `KEY=RANGE`, as after `--draw`.

        Whole numbers are drawn if both ends are whole and the config's value is not a float.

        Raises:
          UserError: it is not a range.
        """
        key, equals, text = given.partition("=")
        where = f"--draw {given}"
        if not equals or not key or not text:
            raise UserError(f"{where}: write KEY={_SHAPES}")
        if key == "seed" or key.startswith("config."):
            remedy = "leave out 'config.'" if key != "seed" else "a search has the config's seed"
            raise UserError(f"{where}: {remedy}")
        parts = text.removeprefix("log:").split(":")
        ends = [_number(part) for part in parts]
        if len(ends) == 1 or "," in text:
            return cls._choice(key, text, where)
        if len(ends) != 2 or None in ends:
            raise UserError(f"{where}: {text!r} is not a range of numbers; write {_SHAPES}")
        low, high = (end for end in ends if end is not None)
        log = text.startswith("log:")
        if not low < high:
            raise UserError(f"{where}: expected the lower end first, got {parts[0]} and {parts[1]}")
        if log and low <= 0:
            raise UserError(f"{where}: a logarithm needs ends above 0, got {parts[0]}")
        fraction = isinstance(cfg.at(config, key), float)
        whole = not fraction and isinstance(low, int) and isinstance(high, int)
        return cls(key, text, low, high, log, whole)

    @classmethod
    def _choice(cls, key: str, text: str, where: str) -> Draw:
        texts = alternatives(text, where)
        if len(texts) < 2:
            raise UserError(f"{where}: a single value leaves nothing to draw; write {_SHAPES}")
        if len({*texts}) < len(texts):
            raise UserError(f"{where}: has a value twice; give each once")
        numbers = [_number(each) for each in texts]
        choices = tuple(t if n is None else n for t, n in zip(texts, numbers, strict=True))
        return cls(key, text, 0, len(choices) - 1, whole=True, choices=choices)

    @property
    def given(self) -> str:
        """As after `--draw`."""
        return f"{self.key}={self.text}"

    def ends(self) -> list[float | str]:
        """The ends of the range, or all choices: if these are valid, so is all in between."""
        return list(self.choices) if self.choices else [self.low, self.high]

    def at(self, share: float) -> float | str:
        """The quantile of the draws at a share in [0, 1)."""
        low, high = self.low, self.high
        if self.whole:  # each number has its own interval
            low, high = (low, high + 1) if not self.log else (low - 0.5, high + 0.5)
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        if self.whole:
            value = int(round(value) if self.log else math.floor(value))
        else:
            value = float(f"{value:.{_DIGITS}g}")
        value = min(max(value, self.low), self.high)
        return self.choices[int(value)] if self.choices else value


def drawn(draws: Sequence[Draw], seed: int, number: int) -> Setting:
    """The setting of a member: a pure function of the seed and the member's number."""
    # NumPy promises never to change Philox's raw stream.
    raw = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(len(draws))
    return {
        draw.key: draw.at(float(r >> 11) * 2.0**-53) for draw, r in zip(draws, raw, strict=True)
    }


def texts_of(setting: Mapping[str, Any]) -> list[str]:
    """A setting as overrides, each `key=value`."""
    return [f"{k}={v if isinstance(v, str) else repr(v)}" for k, v in setting.items()]


def shown(setting: Mapping[str, Any]) -> str:
    """A setting for a line of output: `peak=0.01, width=32`."""
    short = {key: v if isinstance(v, str) else f"{v:.5g}" for key, v in setting.items()}
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in short.items())


def _number(text: str) -> int | float | None:
    """A text as a finite number; None if it is not one."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else None
    return None
