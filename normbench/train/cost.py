"""What a step costs: seconds in training and in inference, and bytes. On random images."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from normbench import data
from normbench.runs import Run
from normbench.train import optim, precision
from normbench.train.network import build_network, chosen_device
from normbench.train.task import Classification

ROUNDS = 5


class TimedNetwork:
    """One run's network, ready to train on and to infer from an SGD batch of random images."""

    def __init__(self, run: Run, device: torch.device) -> None:
        shape, n = data.image_shape(run.data), run.sgd_batch
        self.run, self.device = run, device
        self.model: nn.Module = build_network(run, shape[0], run.data.num_classes, device)
        self.images = torch.randn(n, *shape, device=device, dtype=precision.dtype(run))
        self.labels = torch.randint(run.data.num_classes, (n,), device=device)
        self.task = Classification(run.recipe.label_smoothing)
        self.updates = optim.Updates(run, self.model, device)
        self.train_seconds = self.infer_seconds = float("inf")  # the fastest step so far

    def train(self) -> None:
        self.model.train()
        self.updates.backward(self._loss())
        # a step's work without its effect: random labels would lead astray
        self.updates.step(lr=0.0)

    @torch.no_grad()
    def infer(self) -> None:
        self.model.eval()
        with precision.autocast(self.run, self.device):
            self.model(self.images)

    def saved_bytes(self) -> int:
        """What a forward pass keeps for the backward pass, each storage once and whole.

        Without what is there in any case: parameters, buffers, images, labels.
        """
        resident = (*self.model.parameters(), *self.model.buffers(), self.images, self.labels)
        there = {t.untyped_storage().data_ptr() for t in resident}
        found: dict[int, int] = {}

        def keep(t: Tensor) -> Tensor:
            storage = t.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            return t  # held until the loss goes, so no address is given out twice

        self.model.train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = self._loss()
        del loss
        return sum(size for address, size in found.items() if address not in there)

    def state_bytes(self) -> int:
        """Buffers: what the norms carry from step to step beside their parameters."""
        return sum(b.numel() * b.element_size() for b in self.model.buffers())

    def _loss(self) -> Tensor:
        with precision.autocast(self.run, self.device):
            return self.task.losses(self.model, (self.images, self.labels))[0]


def measure(runs: list[Run], seconds: float) -> list[TimedNetwork]:
    """The networks of runs of one shape, timed in turns for about `seconds` each.

    In turns, and each at its fastest step, so that what else the machine does befalls all of them
    alike.
    """
    if runs[0].threads is not None:
        torch.set_num_threads(runs[0].threads)
    device = chosen_device(runs[0])
    networks = [TimedNetwork(run, device) for run in runs]
    for network in networks:  # the first steps allocate, and choose their algorithms
        network.train()
        network.infer()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for network in networks:
            budget = seconds / ROUNDS / 2
            network.train_seconds = min(network.train_seconds, _fastest(network.train, device, budget))
            network.infer_seconds = min(network.infer_seconds, _fastest(network.infer, device, budget))
        if time.perf_counter() - began > seconds * len(networks):
            break
    return networks


def _fastest(work: Callable[[], None], device: torch.device, budget: float) -> float:
    """Seconds of the fastest of the steps that the budget allows, at least one."""
    fastest, left = float("inf"), budget
    while True:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = time.perf_counter() - began
        fastest, left = min(fastest, took), left - took
        if left <= 0:
            return fastest
