"""Classification: one class an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import Count, Mean


@dataclass(frozen=True)
class Classification:
    """Cross-entropy over classes, in nats.

    With two classes the model may have one output an example, the logit of class 1 (logistic
    regression); otherwise it has one an example and class.

    Args:
      classes: number of classes, at least 2. Labels run from 0 to classes - 1.
      label_smoothing: ε in [0, 1); the target is (1 - ε) one-hot + ε/classes
        (Szegedy et al. 2016, section 7). The reported loss is without it.
      top: also report the share of examples with the label among the `top` likeliest.
      confusion: report the confusion matrix, [label][prediction] counts, where classes are few.
      input: column of the model's input.
      label: column of the label, integers of shape (examples,).
    """

    classes: int
    label_smoothing: float = 0.0
    top: int | None = None
    confusion: bool = True
    input: str = "image"
    label: str = "label"

    reduction: ClassVar[Literal["mean"]] = "mean"

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if self.classes < 2:
            raise UserError(f"classes must be at least 2, got {self.classes}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.top is not None and not 1 < self.top < self.classes:
            raise UserError(f"top must lie between 1 and classes={self.classes}, got {self.top}")

    def inputs(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """The input column."""
        return (batch[self.input],)

    def loss(self, outputs: Float[Array, "batch *outputs"], batch: Mapping[str, Any]) -> Array:
        """Cross-entropy of each example with the smoothed label, (batch,)."""
        return self._cross_entropy(outputs, batch, self.label_smoothing)

    def weight(self, batch: Mapping[str, Any]) -> Array:
        """Each example counts once, (batch,)."""
        return jnp.ones(len(batch[self.label]))

    def penalty(self, params: Any) -> float:
        """None: weight decay belongs to the optimiser."""
        return 0.0

    def metrics(self, outputs: Float[Array, "batch *outputs"], batch: Mapping[str, Any]) -> dict:
        """Loss, accuracy, top-k and the cell of the confusion matrix, of each example."""
        label = self._label(batch)
        prediction = self.predict(outputs)
        shown: dict[str, Mean | Count] = {
            "loss": Mean(self._cross_entropy(outputs, batch, 0.0)),
            "accuracy": Mean((prediction == label).astype(jnp.float32)),
        }
        if self.top:
            _, best = jax.lax.top_k(self._logits(outputs), self.top)
            hit = jnp.any(best == label[:, None], axis=-1)
            shown[f"top{self.top}_accuracy"] = Mean(hit.astype(jnp.float32))
        if self.confusion and self.classes <= 100:
            shown["confusion"] = Count(label * self.classes + prediction, self.classes**2)
        return shown

    def report(self, means: Mapping[str, np.ndarray], table: Table) -> dict[str, Any]:
        """The means, and the confusion matrix as rows of counts."""
        shown: dict[str, Any] = {k: float(v) for k, v in means.items() if k != "confusion"}
        if "confusion" in means:
            matrix = means["confusion"].reshape(self.classes, self.classes)
            shown["confusion"] = matrix.astype(int).tolist()
        return shown

    def predict(self, outputs: Float[Array, "batch *outputs"]) -> Array:
        """The likeliest class, (batch,)."""
        return jnp.argmax(self._logits(outputs), axis=-1)

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
                f"{table.where}: column {self.label!r} must hold one integer an example, "
                f"got shape {label.shape} of {label.dtype}"
            )
        wrong = np.flatnonzero((label < 0) | (label >= self.classes))
        if len(wrong):
            raise UserError(
                f"{table.where}: example {wrong[0]} has label {label[wrong[0]]}, outside "
                f"0…{self.classes - 1} ({len(wrong)} such); labels start at 0, and "
                "config.task.classes says how many there are"
            )

    def _label(self, batch: Mapping[str, Any]) -> Array:
        # int32, since classes² does not fit the uint8 of many data sets.
        return jnp.asarray(batch[self.label]).astype(jnp.int32)

    def _logits(self, outputs: Num[Array, "batch *outputs"]) -> Array:
        if outputs.ndim == 1:
            return jnp.stack([jnp.zeros_like(outputs), outputs], axis=-1)
        return outputs

    def _cross_entropy(self, outputs: Array, batch: Mapping[str, Any], smoothing: float) -> Array:
        log_p = jax.nn.log_softmax(self._logits(outputs), axis=-1)
        chosen = jnp.take_along_axis(log_p, self._label(batch)[:, None], axis=-1)[:, 0]
        return -(1 - smoothing) * chosen - smoothing * jnp.mean(log_p, axis=-1)
