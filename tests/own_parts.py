"""One part of each kind as a user might write them, in a module that jaxdl knows nothing of.

Bright and dark pictures, of which a model is to say how bright they are; and the alphabet, which a
model that sees one letter is to continue.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.data import Table
from jaxdl.figures import needs
from jaxdl.tasks.answer import Answer
from jaxdl.tasks.base import GeneratesText, GivesAnswers


def pictures(examples=64):
    """A source."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 256, (2 * examples, 1, 1, 1), np.uint8)
    columns = {
        "picture": np.broadcast_to(level, (2 * examples, 8, 8, 1)).copy(),
        "brightness": np.float32(level.ravel() / 255),
    }
    train = Table({name: x[:examples] for name, x in columns.items()})
    return {"train": train, "test": Table({name: x[examples:] for name, x in columns.items()})}


def unit(column: str, top: float = 255.0):
    """A transform."""
    return lambda batch, key: {**batch, column: jnp.float32(batch[column]) / top}


class Net(nn.Module):
    """A model."""

    width: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1))))[:, 0]


class Brightness(GivesAnswers):
    """A task that predicts pictures."""

    input = "picture"

    def loss(self, outputs, batch):
        return jnp.square(outputs - batch["brightness"])

    def answers(self, outputs, batch, classes):
        return [[Answer("brightness", float(value))] for value in outputs]


def sign_descent(learning_rate, flavour: str = "plain"):
    """An optimiser with a rate, and an argument that is a text."""
    assert flavour in ("plain", "slow")
    scale = 0.1 if flavour == "slow" else 1.0
    return optax.chain(
        optax.scale_by_sign(), optax.scale(scale), optax.scale_by_learning_rate(learning_rate)
    )


def rateless():
    """An optimiser without a rate."""
    return optax.chain(optax.scale_by_sign(), optax.scale(-0.01))


def halving(peak: float, every: int):
    """A schedule; `every` is a duration."""
    return lambda step: peak * 0.5 ** (step // every)


@needs(lambda run: run.has("brightness"), "a column brightness")
def scatter(run):
    """A figure."""
    from matplotlib.figure import Figure

    figure = Figure()
    test = run.splits["test"]
    outputs = run.predict(test[np.arange(len(test))])
    figure.subplots().scatter(test.columns["brightness"], outputs)
    return figure


def alphabet():
    """A source of texts."""
    return {role: Table({"line": np.array(["abcdef"] * 20, object)}) for role in ("train", "test")}


class Bigram(nn.Module):
    """A model that writes: each letter by the one before it, and by nothing else."""

    vocabulary: int

    def setup(self):
        self.table = nn.Embed(self.vocabulary, self.vocabulary)

    def __call__(self, tokens):
        return self.table(tokens)

    def initialize_carry(self, size):
        return jnp.zeros((size, 1))

    def decode(self, carry, tokens, *, train):
        return self.table(tokens), carry


class NextLetter(GeneratesText):
    """A task that generates text, and scores what is generated."""

    scores = ("right",)

    def loss(self, outputs, batch):
        log_p = jax.nn.log_softmax(outputs)
        return -jnp.sum(jnp.take_along_axis(log_p, batch["tokens"][:, 1:, None], -1), (1, 2))

    def score(self, generated, table):
        return {"right": float(np.mean([text == "abcdef" for text in generated]))}

    def heading(self, number):
        return f"Alphabet {number}\n"
