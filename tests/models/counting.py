"""What a network of colour images is made of, found without computing it."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp


@functools.cache
def made(model, size):
    """Shapes of its variables; path -> (kernel, output) of convolutions and dense layers."""
    found = {}

    def watch(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if isinstance(module := context.module, nn.Conv | nn.Dense):
            found["/".join(module.path)] = (module.variables["params"]["kernel"].shape, y.shape[1:])
        return y

    def init():
        with nn.intercept_methods(watch):
            return model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))

    return jax.eval_shape(init), found


def parameters(model, size=224):
    """How many it has."""
    return sum(leaf.size for leaf in jax.tree.leaves(made(model, size)[0]["params"]))


def paths(model, size=224):
    """Where its variables are, 'params/layer1/0/conv1/kernel'."""
    found = jax.tree.leaves_with_path(made(model, size)[0])
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found}


def layers(model, size=224):
    """Path -> (shape of the kernel, shape of the output) of convolutions and dense layers."""
    return made(model, size)[1]


def multiply_adds(model, size=224):
    """Of convolutions and dense layers, for an image, in units of 10⁹."""
    return sum(math.prod((*k, *y[:-1])) for k, y in layers(model, size).values()) / 1e9


def applied(model, size=224, *, train):
    """Shape of the outputs of an image; (probability, shape) of what dropout cuts, in order."""
    cut = []

    def watch(call, args, kwargs, context):
        module = context.module
        if isinstance(module, nn.Dropout) and not module.deterministic:
            cut.append((module.rate, args[0].shape[1:]))
        return call(*args, **kwargs)

    def run(state):
        x, rngs = jnp.zeros((1, size, size, 3)), {"dropout": jax.random.key(0)}
        with nn.intercept_methods(watch):
            return model.apply(state, x, train=train, rngs=rngs, mutable="batch_stats")[0]

    return jax.eval_shape(run, made(model, size)[0]).shape[1:], cut
