"""A value that an argument cannot have is one line for those who import, too."""

import json
import subprocess
import sys

WRONG = {
    "MODELS['resnet'](depth=20)": "depth: expected one of 18, 34, 50, 101, 152, got 20",
    "Trunk(depth=20)": "depth: expected one of 18, 34, 50, 101, 152, got 20",
    "MODELS['vgg'](depth=18)": "depth: expected one of 11, 13, 16, 19, got 18",
    "MODELS['cifar_resnet'](shortcut='C')": "shortcut: expected one of 'A', 'B', got 'C'",
    "MODELS['detector'](classes=3, head='ssd')": "head: expected one of 'fcos', 'retinanet', got",
    "MODELS['detector'](classes=3, depth=20)": "depth: expected one of 18, 34, 50, 101, 152",
    "MODELS['mlp'](activation='gelu')": "activation: expected one of 'relu', 'tanh', 'sigmoid'",
    "MODELS['language_model'](vocabulary=3, cell='LSTM')": "cell: expected one of 'lstm', 'gru'",
    "MODELS['sequence_classifier'](outputs=3, pooling='sum')": "pooling: expected one of 'last'",
    "MODELS['captioner'](vocabulary=3, implementation=None)": "implementation: expected one of",
    "TASKS['regression'](loss_name='cubes')": "loss_name: expected one of 'squares', 'absolute'",
    "TASKS['regression'](reduction='max')": "reduction: expected one of 'mean', 'sum', got 'max'",
    "TASKS['language_modeling'](notation='midi')": "notation: expected one of 'text', 'abc'",
    "TRANSFORMS['random_crop'](2, fill='white')": "fill='white'; give 'zero' or 'reflect'",
    "TRANSFORMS['random_erasing'](area=(0.1,))": "area=(0.1,)",
    "TRANSFORMS['random_erasing'](ratio=())": "ratio=()",
    "TRANSFORMS['random_shadow'](light=(0.5,))": "light=(0.5,); give bounds from 0 to 1",
    "TRANSFORMS['random_zoom'](zoom=(0.5, 1.0, 2.0))": "give two factors above 0",
    "Crop(8, area=(0.5,))": "area=(0.5,): give two shares",
    "Crop(8, ratio=())": "ratio=(): give two numbers",
}
PROGRAM = """
import json, sys
from jaxdl.data import Crop
from jaxdl.models import MODELS
from jaxdl.models.resnet import Trunk
from jaxdl.tasks import TASKS
from jaxdl.transforms import TRANSFORMS
told = {}
for expression in json.loads(sys.argv[1]):
    try:
        eval(expression)
    except Exception as error:
        told[expression] = f"{type(error).__name__} {error}"
print(json.dumps(told))
"""


def test_what_cannot_be_is_one_line():
    """In a process of its own: the tests check types before the code does."""
    command = [sys.executable, "-c", PROGRAM, json.dumps([*WRONG])]
    done = subprocess.run(command, capture_output=True, text=True)
    told = json.loads(done.stdout)
    for expression, line in WRONG.items():
        said = told.get(expression, "nothing")
        assert said.startswith("UserError ") and line in said and "\n" not in said, expression
