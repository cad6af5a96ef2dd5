"""precision=fp32 | bf16 | fp16 | fp64: dtype of data and weights, autocast, fp16's loss scale."""

from contextlib import AbstractContextManager, nullcontext

import torch

from normbench.runs import Run

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def dtype(run: Run) -> torch.dtype:
    """Of weights, inputs and the optimizer's state; bf16 and fp16 lower activations only."""
    return torch.float64 if run.precision == "fp64" else torch.float32


def autocast(run: Run, device: torch.device) -> AbstractContextManager[object]:
    if run.precision not in _AUTOCAST:
        return nullcontext()
    return torch.autocast(device.type, _AUTOCAST[run.precision])


def scaler(run: Run, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss in fp16, whose gradients would underflow; does nothing elsewhere."""
    return torch.amp.GradScaler(device.type, enabled=run.precision == "fp16")
