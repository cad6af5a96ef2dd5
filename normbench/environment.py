"""env.json: what a run's numbers were made with.

No environment variables, which may hold secrets.
"""

import platform
import subprocess
import time
from importlib.metadata import version
from typing import Any

import numpy
import torch
from torch import nn

from normbench.data import Images
from normbench.models import norm_layers
from normbench.parallel import dist
from normbench.paths import CHECKOUT
from normbench.version import VERSION


def environment(device: torch.device, command: list[str], model: nn.Module, images: Images) -> dict[str, Any]:
    """Versions, commit, device and command, and what the norm became in each layer.

    command: what the user typed after `normbench`. images: those trained on; what their
    pixels are normalised by is told where it was computed from them.
    """
    cuda = device.type == "cuda"
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": ["normbench", *command],
        "commit": _commit(),
        "versions": {
            "normbench": VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),  # importing it takes a second
            "numpy": numpy.__version__,
        },
        "device": torch.cuda.get_device_name(device) if cuda else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "world_size": dist.world_size(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "norm_layers": {path: layer.extra_repr() for path, layer in norm_layers(model).items()},
        **({"pixels": {"mean": images.mean, "sd": images.sd}} if images.mean else {}),
    }


def _commit() -> str | None:
    """The checkout's commit, with + where files differ from it; None for an installed package."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        shown = subprocess.run(
            ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip()
