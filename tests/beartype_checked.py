"""The type checker of the tests: beartype, with Python's own rule that an int is a float."""

import dataclasses
import functools
import inspect
import types
import typing

from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, jaxtyped

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeCheckError))
_INNER = {}


def checked(function):
    """The function with its annotations checked.

    jaxtyping hands over an empty function with the annotations of one of jaxdl. Of one inside
    another, which is made anew by each call, the check is written once: that takes a millisecond.
    """
    if "<locals>" not in function.__qualname__ or function.__defaults__ or function.__kwdefaults__:
        return _beartype(function)
    same = (function.__module__, function.__qualname__, function.__code__)
    key = (*same, repr(function.__annotations__))
    if key not in _INNER:
        _INNER[key] = _beartype(function)
    return _INNER[key]


def quick_jaxtyped(*, typechecker):
    """`jaxtyped`, but a function whose annotations name no shapes is checked by beartype alone.

    jaxtyping binds and checks the arguments of each call twice, to compare their shapes.
    """

    def decorate(thing):
        if inspect.isclass(thing):
            init = thing.__init__
            if dataclasses.is_dataclass(thing) and not hasattr(init, "__wrapped__"):
                thing.__init__ = decorate(init)
            return thing
        if inspect.isfunction(thing) and "<locals>" not in thing.__qualname__:
            evaluate = functools.partial(_evaluated, names=thing.__globals__)
            hints = {name: evaluate(hint) for name, hint in thing.__annotations__.items()}
            if "jaxtyping" not in repr(hints):
                return _alone(thing, hints)
        return jaxtyped(thing, typechecker=typechecker)

    return decorate


def _evaluated(hint, names):
    """An annotation that was text, or `Any` if it cannot be evaluated, as jaxtyping has it."""
    holder = types.SimpleNamespace(__annotations__={"value": hint})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["value"]
    except Exception:
        return typing.Any


def _alone(function, hints):
    if not hints:
        return function
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip
    copy = functools.update_wrapper(copy, function)
    copy.__kwdefaults__, copy.__annotations__ = function.__kwdefaults__, hints
    del copy.__wrapped__  # it stands for itself
    return functools.update_wrapper(_beartype(copy), function)
