"""Whole trainings beside PyTorch, in float64 from the same weights: the same losses, step by step.

A twin is a plain PyTorch network whose modules have our names, so that `to_torch` fills it.
"""

import re
from itertools import pairwise

import jax
import numpy as np
import optax
import pytest

import jaxdl
from jaxdl.checkpointing.weight_names import to_torch
from jaxdl.data.table import BEGINS
from jaxdl.models import EncoderDecoder, LanguageModel, MnistCNN, ResNet
from jaxdl.parallel.mesh import jit

torch = pytest.importorskip("torch", exc_type=ImportError)
pytestmark = pytest.mark.slow
nn, functional = torch.nn, torch.nn.functional
torch.set_num_threads(1)  # several spin where the CPUs are shared

DOUBLE = jaxdl.Precision("float64", "float64", "float64")
STEPS, SIZE, VOCABULARY, HIDDEN = 20, 4, 7, 6
SGD = (
    lambda: optax.sgd(0.02, momentum=0.9),
    lambda parameters: torch.optim.SGD(parameters, 0.02, momentum=0.9),
)
ADAM = lambda: optax.adam(1e-4), lambda parameters: torch.optim.Adam(parameters, 1e-4)


def trajectory(module, task, twin, batches, optimizer, carry=False):
    """The losses of our training and of the twin's, (steps,) each."""
    ours, theirs = optimizer
    with jax.enable_x64(True):
        model, optimizer = jaxdl.functional(module), ours()
        size = SIZE if carry else None
        step = jit(jaxdl.make_step(model, task, optimizer, precision=DOUBLE), once=True)
        start = lambda batch: jaxdl.init(  # noqa: E731
            model, task, optimizer, batch, precision=DOUBLE, carry=size
        )
        state = jit(start, once=True)(batches[0])
        fill(twin, to_torch(jax.device_get(state.params), jax.device_get(state.model_state)))
        losses = []
        for batch in batches:
            state, summary = step(state, batch)
            losses.append(float(summary["loss"]))
    trained = [p for p in twin.parameters() if p.requires_grad]
    optimizer = theirs(trained)
    return np.array(losses), np.array([torch_step(twin, optimizer, b) for b in batches])


def torch_step(twin, optimizer, batch):
    optimizer.zero_grad()
    loss = twin({k: torch.from_numpy(v) for k, v in batch.items()})
    loss.backward()
    optimizer.step()
    return loss.item()


def fill(twin, tensors):
    """Our weights into the twin; what it has beyond them stays, and is not trained."""
    tensors = {k: torch.from_numpy(np.array(v)) for name, x in tensors.items()
               for k, v in as_lstm(name, x).items()}  # fmt: skip
    twin.double()
    missing, unexpected = twin.load_state_dict(tensors, strict=False)
    assert not unexpected
    parameters = dict(twin.named_parameters())
    for name in missing:
        assert re.search(r"num_batches_tracked$|bias_hh_l|^BatchNorm_\d\.weight$", name), name
        if name in parameters:
            parameters[name].requires_grad_(False)
            parameters[name].data.fill_(0.0 if "bias_hh" in name else 1.0)


def as_lstm(name, x):
    """The tensors of `torch.nn.LSTM`, whose gates stand in our order."""
    found = re.fullmatch(r"(.*)\.(input_kernel|recurrent_kernel|bias)_(\d)(_back)?", name)
    if not found:
        return {name: x}
    path, kind, layer, back = found.groups()
    theirs = {"input_kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias_ih"}
    end = "_reverse" if back else ""
    return {f"{path}.{theirs[kind]}_l{layer}{end}": x.T}


def images(side, channels, classes, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "image": rng.normal(size=(SIZE, side, side, channels)),
            "label": rng.integers(0, classes, SIZE),
        }
        for _ in range(STEPS)
    ]


def sentences(names, seed=0):
    """Sequences of tokens, padded at the end with 0."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 10, (STEPS, len(names), SIZE, 1))
    tokens = rng.integers(1, VOCABULARY, (STEPS, len(names), SIZE, 9))
    tokens *= np.arange(9) < lengths
    return [dict(zip(names, row, strict=True)) for row in tokens]


def channels_first(x):
    return x.permute(0, 3, 1, 2)


def next_token_loss(logits, tokens):
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)


class TorchMnistCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv_0 = nn.Conv2d(1, 3, 6, bias=False)
        self.Conv_1 = nn.Conv2d(3, 4, 5, 2, bias=False)
        self.Conv_2 = nn.Conv2d(4, 5, 4, 2, bias=False)
        for i, width in enumerate((3, 4, 5)):
            self.add_module(f"BatchNorm_{i}", nn.BatchNorm2d(width))
        self.Dense_0 = nn.Linear(5 * 7 * 7, 11, bias=False)
        self.BatchNorm_3 = nn.BatchNorm1d(11)
        self.Dense_1 = nn.Linear(11, 10)

    def forward(self, batch):
        x = channels_first(batch["image"])
        x = torch.relu(self.BatchNorm_0(self.Conv_0(functional.pad(x, (2, 3, 2, 3)))))
        x = torch.relu(self.BatchNorm_1(self.Conv_1(functional.pad(x, (1, 2, 1, 2)))))
        x = torch.relu(self.BatchNorm_2(self.Conv_2(functional.pad(x, (1, 1, 1, 1)))))
        x = self.Dense_0(x.permute(0, 2, 3, 1).flatten(1))
        return functional.cross_entropy(
            self.Dense_1(torch.relu(self.BatchNorm_3(x))), batch["label"]
        )


class TorchBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride > 1:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


class TorchResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        for i, (inputs, outputs) in enumerate(pairwise(widths), 1):
            first = TorchBlock(inputs, outputs, 1 if i == 1 else 2)
            self.add_module(f"layer{i}", nn.Sequential(first, TorchBlock(outputs, outputs, 1)))
        self.fc = nn.Linear(512, 10)

    def forward(self, batch):
        x = torch.relu(self.bn1(self.conv1(channels_first(batch["image"]))))
        x = functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return functional.cross_entropy(self.fc(x.mean((2, 3))), batch["label"])


class TorchLanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 5)
        self.recurrent = nn.LSTM(5, HIDDEN, 2, batch_first=True)
        self.output = nn.Linear(HIDDEN, VOCABULARY)
        self.states = None

    def forward(self, batch):
        carried = None
        if BEGINS in batch:
            going = ~batch[BEGINS][None, :, None]
            blank = torch.zeros(2, SIZE, HIDDEN, dtype=torch.float64)
            carried = [going * state for state in self.states or (blank, blank)]
        x = self.embed(batch["tokens"][:, :-1]) * 5**0.5
        y, states = self.recurrent(x, carried)
        self.states = [state.detach() for state in states]
        return next_token_loss(self.output(y), batch["tokens"])


class TorchEncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.embed_source = nn.Embedding(VOCABULARY, 5), nn.Embedding(VOCABULARY, 5)
        self.encoder = nn.LSTM(5, HIDDEN, batch_first=True, bidirectional=True)
        self.recurrent = nn.LSTM(5, HIDDEN, batch_first=True)
        self.first = nn.Linear(2 * HIDDEN, 2 * HIDDEN)
        self.query = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.key = nn.Linear(2 * HIDDEN, HIDDEN, bias=False)
        self.combine = nn.Linear(3 * HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, batch):
        source, tokens = batch["source"], batch["tokens"]
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed_source(source) * 5**0.5, (source != 0).sum(1), True, False
        )
        memory, (last, _) = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(memory, True, total_length=source.shape[1])
        first = torch.tanh(self.first(torch.cat([last[0], last[1]], -1)))
        states = [state[None].contiguous() for state in first.split(HIDDEN, -1)]
        y, _ = self.recurrent(self.embed(tokens[:, :-1]) * 5**0.5, states)
        scores = self.query(y) @ self.key(memory).transpose(1, 2) / HIDDEN**0.5
        scores = scores.masked_fill((source == 0)[:, None], -torch.inf)
        context = torch.softmax(scores, -1) @ memory
        y = torch.tanh(self.combine(torch.cat([y, context], -1)))
        return next_token_loss(self.output(y), tokens)


SIZES = dict(vocabulary=VOCABULARY, hidden=HIDDEN, embedding=5)
CNN = MnistCNN(widths=(3, 4, 5), dense=11, dropout=0.0)
SEQ2SEQ = EncoderDecoder(source_vocabulary=VOCABULARY, **SIZES)
TRANSLATION = jaxdl.LanguageModeling(conditions=("source",))
CASES = {
    "MNIST CNN": (CNN, jaxdl.Classification(10), TorchMnistCNN, images(28, 1, 10)),
    "ResNet-18": (
        ResNet(depth=18, outputs=10), jaxdl.Classification(10), TorchResNet18, images(40, 3, 10),
    ),
    "LSTM language model": (
        LanguageModel(layers=2, **SIZES), jaxdl.LanguageModeling(), TorchLanguageModel,
        sentences(["tokens"]),
    ),
    "encoder-decoder": (SEQ2SEQ, TRANSLATION, TorchEncoderDecoder, sentences(["source", "tokens"])),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("name", CASES)
def test_losses_are_pytorchs_step_by_step(name, optimizer):
    module, task, twin, batches = CASES[name]
    ours, theirs = trajectory(module, task, twin(), batches, optimizer)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert len(set(ours)) == STEPS


def test_losses_are_pytorchs_where_texts_go_on_from_batch_to_batch():
    rng = np.random.default_rng(0)
    batches = [
        {"tokens": rng.integers(1, VOCABULARY, (SIZE, 9)), BEGINS: rng.random(SIZE) < 0.3}
        for _ in range(STEPS)
    ]
    module, task = LanguageModel(layers=2, **SIZES), jaxdl.LanguageModeling()
    ours, theirs = trajectory(module, task, TorchLanguageModel(), batches, SGD, carry=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)  # a state kept in float32 is 9e-10 off
