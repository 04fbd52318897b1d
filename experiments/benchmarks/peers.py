"""Training steps a second beside the field on JAX: plain Flax and optax, and Keras 3.

    pip install keras
    python experiments/benchmarks/peers.py [digits mnist resnet20 lstm] [--rounds 7]

All train the same network with the same batch, optimiser and noise, with no flags set. jaxdl
trains as `jaxdl train` does: same experiment, feed and compiled call. Flax's loop is that of its
examples: a network of `flax.linen`, optax, one jitted step that donates its state, batches in order
from NumPy arrays in memory, losses left on the device. Keras trains by `train_on_batch` of a
compiled model, from the same arrays. Neither shuffles, scales bytes or checks anything, which jaxdl
does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from interleaved import Variant, race, report, serve
from trained import steps_of


class Work(NamedTuple):
    """A config, the shape of an example, and how many steps take some seconds."""

    config: str
    shape: tuple[int, ...]
    batch: int
    steps: int


VOCABULARY = 66
CONVOLUTIONS = ((24, 6, 1), (48, 5, 2), (64, 4, 2))  # width, kernel and stride of `mnist_cnn`
WORK = {
    "digits": Work("digits_cnn", (8, 8, 1), 100, 200),
    "mnist": Work("mnist_cnn", (28, 28, 1), 100, 30),
    "resnet20": Work("cifar10_resnet20", (32, 32, 3), 128, 10),
    "lstm": Work("shakespeare_lstm", (51,), 50, 50),  # tokens, of which 50 are seen
}
BATCHES = 16  # in memory


def examples(work: Work, path: str) -> None:
    """Noise, labelled at random; or tokens."""
    rng, count = np.random.default_rng(0), BATCHES * work.batch
    if len(work.shape) == 1:
        np.savez(path, tokens=rng.integers(1, VOCABULARY, (count, *work.shape), dtype=np.int32))
        return
    image = rng.integers(0, 256, (count, *work.shape), dtype=np.uint8)
    np.savez(path, image=image, label=rng.integers(0, 10, count, dtype=np.int32))


def batches(work: Work, path: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(inputs, labels) as the peers take them: float32 images, or tokens and those that follow."""
    with np.load(path) as archive:
        if "tokens" in archive:
            x, y = archive["tokens"][:, :-1], archive["tokens"][:, 1:]
        else:
            x, y = archive["image"].astype(np.float32) / 128 - 1, archive["label"]
    return [(x[i : i + work.batch], y[i : i + work.batch]) for i in range(0, len(x), work.batch)]


def jaxdl_steps(name: str, path: str) -> Callable[[int], object]:
    """Steps of the shipped config, as the training loop makes them."""
    from jaxdl.training.build import read_config

    work = WORK[name]
    config = read_config(work.config, [f"training.batch_size={work.batch}"])
    data = dict(source="arrays", train=path)
    if name == "lstm":
        config["model"] = {**config["model"], "vocabulary": VOCABULARY}
        config["training"] = {**config["training"], "carry": False}
    else:
        data["transforms"] = config["data"]["transforms"]  # and no augmentation
    return steps_of({**config, "data": data, "target": None})


# ---- Flax and optax


def flax_network(name: str) -> Any:
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            def normalised(x):
                return nn.relu(nn.BatchNorm(not train, momentum=0.99, use_scale=False)(x))

            for width, kernel, stride in CONVOLUTIONS:
                x = normalised(nn.Conv(width, (kernel, kernel), stride, use_bias=False)(x))
            x = normalised(nn.Dense(200, use_bias=False)(x.reshape(len(x), -1)))
            return nn.Dense(10)(nn.Dropout(0.25, deterministic=not train)(x))

    class ResNet20(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            def normalised(x, width, stride=1):
                x = nn.Conv(width, (3, 3), stride, use_bias=False)(x)
                return nn.BatchNorm(not train, momentum=0.9)(x)

            x = nn.relu(normalised(x, 16))
            for width in (16, 32, 64):
                for _ in range(3):
                    stride = 1 if width == x.shape[-1] else 2
                    y = nn.relu(normalised(x, width, stride))
                    more = (width - x.shape[-1]) // 2  # shortcut A
                    x = jnp.pad(x[:, ::stride, ::stride], ((0, 0),) * 3 + ((more, more),))
                    x = nn.relu(normalised(y, width) + x)
            return nn.Dense(10)(x.mean((1, 2)))

    class LSTM(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = jax.nn.one_hot(x, VOCABULARY)
            for _ in range(2):
                x = nn.RNN(nn.OptimizedLSTMCell(128))(x)
            return nn.Dense(VOCABULARY)(x)

    if name == "lstm":
        return LSTM()
    return ResNet20() if name == "resnet20" else CNN()


def flax_steps(name: str, path: str) -> Callable[[int], object]:
    """Steps of Flax's examples' loop."""
    import functools

    import jax
    import optax

    network, seen = flax_network(name), batches(WORK[name], path)
    optimizer = {
        "lstm": optax.chain(optax.clip_by_global_norm(5.0), optax.rmsprop(2e-3, decay=0.95)),
        "resnet20": optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9)),
    }.get(name, optax.adam(5e-3))

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def train_step(params, others, opt_state, key, x, y):
        def loss(params):
            logits, changed = network.apply(
                {"params": params, **others}, x, True, mutable=[*others], rngs={"dropout": key}
            )
            each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return each.mean(), changed

        (value, others), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), others, opt_state, value

    variables = dict(network.init(jax.random.key(0), seen[0][0], False))
    params = variables.pop("params")
    opt_state, key, step = optimizer.init(params), jax.random.key(1), 0

    def steps(n: int) -> None:
        nonlocal params, variables, opt_state, step
        for _ in range(n):
            x, y = seen[step % BATCHES]
            key_now = jax.random.fold_in(key, step)
            params, variables, opt_state, value = train_step(
                params, variables, opt_state, key_now, x, y
            )
            step += 1
        value.block_until_ready()

    return steps


# ---- Keras


def keras_network(name: str) -> Any:
    from keras import Input, Model, Sequential, layers, ops

    work = WORK[name]

    def normalised(x: Any, **options: Any) -> Any:
        momentum = dict(momentum=0.9) if name == "resnet20" else dict(momentum=0.99, scale=False)
        return layers.BatchNormalization(**momentum, **options)(x)

    if name == "lstm":
        return Sequential(
            [
                Input((50,), dtype="int32"),
                layers.Lambda(lambda x: ops.one_hot(x, VOCABULARY)),
                layers.LSTM(128, return_sequences=True),
                layers.LSTM(128, return_sequences=True),
                layers.Dense(VOCABULARY),
            ]
        )
    x = start = Input(work.shape)
    if name == "resnet20":

        def conv(x: Any, width: int, stride: int = 1) -> Any:
            return normalised(layers.Conv2D(width, 3, stride, "same", use_bias=False)(x))

        x = layers.ReLU()(conv(x, 16))
        for width in (16, 32, 64):
            for _ in range(3):
                stride = 1 if width == x.shape[-1] else 2
                y = conv(layers.ReLU()(conv(x, width, stride)), width)
                if stride == 2:  # shortcut A
                    more = width // 4
                    x = ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (more, more)))
                x = layers.ReLU()(layers.Add()([y, x]))
        return Model(start, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
    for width, kernel, stride in CONVOLUTIONS:
        x = layers.Conv2D(width, kernel, stride, "same", use_bias=False)(x)
        x = layers.ReLU()(normalised(x))
    x = layers.ReLU()(normalised(layers.Dense(200, use_bias=False)(layers.Flatten()(x))))
    return Model(start, layers.Dense(10)(layers.Dropout(0.25)(x)))


def keras_steps(name: str, path: str) -> Callable[[int], object]:
    """Steps of `train_on_batch`."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    network, seen, step = keras_network(name), batches(WORK[name], path), 0
    optimizer = {
        "lstm": keras.optimizers.RMSprop(2e-3, rho=0.95, global_clipnorm=5.0),
        "resnet20": keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-4),
    }.get(name, keras.optimizers.Adam(5e-3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer, loss)

    def steps(n: int) -> None:
        nonlocal step
        for _ in range(n):
            network.train_on_batch(*seen[step % BATCHES])
            step += 1

    return steps


SIDES: Mapping[str, Callable[[str, str], Callable[[int], object]]] = {
    "jaxdl": jaxdl_steps,
    "Flax and optax": flax_steps,
    "Keras 3": keras_steps,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", choices=[[], *WORK], help="by default all four")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        side, path = options.serve
        (name,) = options.work
        serve(SIDES[side](name, path))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in options.work or WORK:
            path = str(Path(folder, f"{name}.npz"))
            examples(WORK[name], path)
            command = [sys.executable, __file__, name, "--serve"]
            sides = [Variant(side, [*command, side, path], WORK[name].steps) for side in SIDES]
            print(report(name, "jaxdl", race(sides, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
