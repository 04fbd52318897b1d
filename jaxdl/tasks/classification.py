"""Classification: one class an example."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import Count, Mean, Metric
from jaxdl.tasks.answer import Answer, class_names
from jaxdl.tasks.base import GivesLogits


@dataclass(frozen=True)
class Classification(GivesLogits):
    """Cross-entropy over classes, in nats.

    With two classes the model may have one output an example, the logit of class 1 (logistic
    regression); otherwise it has one an example and class. In training it may have several heads,
    (batch, heads, classes), the main one first; all else is of the main one.

    A batch with columns `other_label` and `share` (batch,) holds examples of two classes each:
    `share` of the label, the rest of the other (`jaxdl.transforms.mixing` makes such). The loss is
    weighted alike; the metrics are of the label.

    Args:
      classes: number of classes, at least 2. Labels run from 0 to classes - 1.
      label_smoothing: ε in [0, 1); the target is (1 - ε) one-hot + ε/classes
        (Szegedy et al. 2016, section 7). The reported loss is without it.
      auxiliary: what the loss of each head but the first counts (GoogLeNet's two: Szegedy et al.
        2015, section 5).
      top: also report the share of examples with the label among the `top` likeliest.
      confusion: report the confusion matrix, [label][prediction] counts, where classes are few.
      input: column of the model's input.
      label: column of the label, integers of shape (examples,).
    """

    classes: int
    label_smoothing: float = 0.0
    auxiliary: float = 0.3
    top: int | None = None
    confusion: bool = True
    input: str = "image"
    label: str = "label"

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if self.classes < 2:
            raise UserError(f"classes must be at least 2, got {self.classes}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if not 0 <= self.auxiliary < math.inf:
            raise UserError(f"auxiliary must be finite and at least 0, got {self.auxiliary}")
        if self.top is not None and not 1 < self.top < self.classes:
            raise UserError(f"top must lie between 1 and classes={self.classes}, got {self.top}")

    def loss(self, outputs: Float[Array, "batch *outputs"], batch: Mapping[str, Any]) -> Array:
        """Cross-entropy of each example with the smoothed label or labels, over heads, (batch,)."""
        heads = outputs if outputs.ndim == 3 else self.logits(outputs)[:, None]
        log_p = jax.nn.log_softmax(heads, axis=-1)
        # The loss is linear in log_p, so heads can be added up before labels are looked at.
        log_p = log_p[:, 0] + self.auxiliary * jnp.sum(log_p[:, 1:], axis=1)
        loss = self._cross_entropy(log_p, batch[self.label], self.label_smoothing)
        if "other_label" in batch:
            other = self._cross_entropy(log_p, batch["other_label"], self.label_smoothing)
            loss = batch["share"] * loss + (1 - batch["share"]) * other
        return loss

    @property
    def headline(self) -> tuple[str, ...]:  # type: ignore[override]
        """Accuracy, and that among the `top` likeliest."""
        return ("accuracy", *([f"top{self.top}_accuracy"] if self.top else []))

    def training_metrics(
        self, outputs: Float[Array, "batch *outputs"], batch: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Loss, and accuracy of the main head."""
        hit = self.predict(outputs, batch) == _integers(batch[self.label])
        return {"loss": self.loss(outputs, batch), "accuracy": hit.astype(jnp.float32)}

    def metrics(self, outputs: Float[Array, "batch *outputs"], batch: Mapping[str, Any]) -> dict:
        """Loss, accuracy, top-k, and the cells of the tables, of each example."""
        label, logits = _integers(batch[self.label]), self.logits(outputs)
        prediction = self.predict(outputs, batch)
        hit = prediction == label
        shown: dict[str, Metric] = {
            "loss": Mean(self._cross_entropy(jax.nn.log_softmax(logits, axis=-1), label, 0.0)),
            "accuracy": Mean(hit.astype(jnp.float32)),
            "class_accuracy": Count(2 * label + hit, 2 * self.classes),
        }
        if self.top:
            _, best = jax.lax.top_k(logits, self.top)
            among = jnp.any(best == label[:, None], axis=-1)
            shown[f"top{self.top}_accuracy"] = Mean(among.astype(jnp.float32))
        if self.confusion and self.classes <= 100:
            shown["confusion"] = Count(label * self.classes + prediction, self.classes**2)
        return shown

    def report(self, means: Mapping[str, np.ndarray], table: Table) -> dict[str, Any]:
        """The means, and two tables.

        `class_accuracy` has the accuracy of each class of which there are examples, by its name;
        `confusion` has rows of counts.
        """
        tables = ("class_accuracy", "confusion")
        shown: dict[str, Any] = {k: float(v) for k, v in means.items() if k not in tables}
        missed, hit = means["class_accuracy"].reshape(self.classes, 2).T
        names = class_names(table.classes, self.classes)
        shown["class_accuracy"] = {
            name: float(hits / (hits + misses))
            for name, hits, misses in zip(names, hit, missed, strict=True)
            if hits + misses
        }
        if "confusion" in means:
            matrix = means["confusion"].reshape(self.classes, self.classes)
            shown["confusion"] = matrix.astype(int).tolist()
        return shown

    def predict(self, outputs: Float[Array, "batch *outputs"], batch: Mapping[str, Any]) -> Array:
        """The likeliest class, (batch,)."""
        return jnp.argmax(self.logits(outputs), axis=-1)

    def logits(self, outputs: Num[Array, "batch *outputs"]) -> Num[Array, "batch classes"]:
        """Of the main head; two for each example where the model has one."""
        if outputs.ndim == 1:
            return jnp.stack([jnp.zeros_like(outputs), outputs], axis=-1)
        return outputs[:, 0] if outputs.ndim == 3 else outputs

    def probabilities(
        self, outputs: Float[Array, "batch *outputs"]
    ) -> Float[Array, "batch classes"]:
        """The probability of each class."""
        return jax.nn.softmax(self.logits(outputs), axis=-1)

    def answers(
        self,
        outputs: Float[Array, "batch *outputs"],
        batch: Mapping[str, Any],
        classes: Sequence[str],
        top: int | None = None,
        score: float | None = None,
    ) -> list[list[Answer]]:
        """The likeliest classes of each example, and their probabilities.

        Args:
          outputs: of the model.
          batch: what they are of.
          classes: their names; a class that has none is called by its number.
          top: how many; by default five.
          score: the least probability of what is shown.
        """
        probabilities = np.asarray(self.probabilities(outputs))
        names = class_names(classes, self.classes)
        best = np.argsort(-probabilities, axis=-1, kind="stable")[:, : top or 5]
        return [
            [Answer(names[i], float(row[i])) for i in order if row[i] >= (score or 0)]
            for row, order in zip(probabilities, best, strict=True)
        ]

    def output_shapes(self, batch: Mapping[str, Any]) -> list[tuple[int, ...]]:
        """A logit an example and class; or, of two classes, that of class 1 alone."""
        examples = batch[self.label].shape[0]
        return [(examples, self.classes)] + [(examples,)] * (self.classes == 2)

    def check(self, table: Table) -> None:
        """Refuse missing columns and labels outside 0 … classes - 1."""
        remedy = "Set config.task.input and config.task.label"
        table.require((self.input, self.label), remedy)
        label = np.asarray(table.columns[self.label])
        if label.ndim != 1 or label.dtype.kind not in "iub":
            raise UserError(
                f"{table.where}: column {self.label!r} must hold one integer per example, got "
                f"shape {label.shape} of {label.dtype}; for one-hot rows store label.argmax(1), "
                "for (N, 1) label[:, 0], for floats label.astype(int)"
            )
        wrong = np.flatnonzero((label < 0) | (label >= self.classes))
        if len(wrong):
            raise UserError(
                f"{table.where}: example {wrong[0]} has label {label[wrong[0]]}, outside "
                f"0…{self.classes - 1} ({len(wrong)} such); labels start at 0, and "
                "config.task.classes is their number"
            )

    def _cross_entropy(
        self, log_p: Float[Array, "batch classes"], label: Any, smoothing: float | Array
    ) -> Float[Array, " batch"]:
        chosen = jnp.take_along_axis(log_p, _integers(label)[:, None], axis=-1)[:, 0]
        return -(1 - smoothing) * chosen - smoothing * jnp.mean(log_p, axis=-1)


def _integers(label: Any) -> Int[Array, " batch"]:
    # int32, since classes² does not fit the uint8 of many data sets.
    return jnp.asarray(label).astype(jnp.int32)
