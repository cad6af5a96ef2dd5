"""What the loop asks of a task: losses to train on, predictions to score.

Classification is the first.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


class Classification:
    """One label per image; the metric is the percentage of images put into a wrong class.

    label_smoothing: the part of the target spread evenly over all classes.
    """

    metric: ClassVar[str] = "top1_error_pct"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean cross-entropy of the batch, to differentiate, and its number of wrong images."""
        images, labels = batch
        logits = model(images)
        loss = F.cross_entropy(
            logits.float() if logits.dtype != torch.float64 else logits, labels, label_smoothing=self.label_smoothing
        )
        return loss, self._wrong(logits.detach(), labels)

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """How many images of the batch are wrong.

        A network that answers NaN is wrong everywhere.
        """
        images, labels = batch
        return self._wrong(model(images), labels)

    def score(self, wrong: float, images: float) -> float:
        """The metric, in percent."""
        return 100.0 * wrong / images

    @staticmethod
    def _wrong(logits: Tensor, labels: Tensor) -> Tensor:
        right = (logits.argmax(1) == labels) & ~logits.isnan().any(1)
        return len(labels) - right.sum()
