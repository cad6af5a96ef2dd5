"""What a network says of each test image."""

from typing import Any

import numpy as np
import torch
from torch import nn

from normbench.data import Images, order
from normbench.runs import Run
from normbench.train.evaluate import answering, evaluation_batches


def of_test_images(run: Run, model: nn.Module, images: Images) -> dict[str, np.ndarray[Any, Any]]:
    """Columns with one entry a test image, in the order of the test set; by one process.

    The images meet in the forwards that they met in when the run was evaluated, where that was by
    one process too.
    """
    parts: list[tuple[torch.Tensor, ...]] = []
    with answering(run, model):
        for x, labels in evaluation_batches(run, images):
            logits = model(x)
            predicted = logits.argmax(1).masked_fill(logits.isnan().any(1), -1)
            shares = logits.double().softmax(1)
            own = (shares.gather(1, at[:, None])[:, 0] for at in (predicted.clamp_min(0), labels))
            parts.append(tuple(part.cpu() for part in (labels, predicted, *own)))
    columns = [torch.cat(part).numpy() for part in zip(*parts, strict=True)]
    # by one process the images come in this order
    shown = order.permutation(images.test_images, "evaluation")
    in_order = np.argsort(shown)
    names = ("label", "predicted", "probability", "label_probability")
    return {"position": shown[in_order], **{n: c[in_order] for n, c in zip(names, columns, strict=True)}}
