"""What this run was trained from, by jaxdl 0.1; a later version adds a folder of its own.

jaxdl train --config config.py --workdir /tmp/digits

The run is whole but for its environment, events, figures and lock.
"""


def get_config():
    return {
        "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
        "model": {
            "name": "mnist_cnn",
            "widths": (2,),
            "kernels": (3,),
            "strides": (2,),
            "dense": 4,
        },
        "task": {"name": "classification", "classes": 10},
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "training": {
            "batch_size": 50,
            "steps": 8,
            "ema_decay": 0.5,
            "log_every": {"steps": 1},
            "checkpoint_every": {"steps": 4},
            "keep": 2,
            "evaluate": ("test",),
        },
    }
