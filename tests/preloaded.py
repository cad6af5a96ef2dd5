"""What a run imports on its way, imported: a process that is forked from this one begins at once."""

import torch._dynamo  # at their first step torch's optimizers do, and with it most of torch

from normbench import cli, environment, norms, progress, tracker
from normbench.data import digits
from normbench.train import checkpoint, loop, network

LOADED = (torch._dynamo, cli, environment, progress, tracker, digits, checkpoint, loop, network)
norms.layer("bn")  # it looks at every layer
