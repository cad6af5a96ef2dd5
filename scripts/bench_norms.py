"""How long each norm takes, forward and backward on a CPU, as a ratio to nn.BatchNorm2d + ReLU in
the same run.

    python scripts/bench_norms.py                        every norm, about ten minutes; prints a Markdown table
    python scripts/bench_norms.py gn brn --rounds 30     some of them

Layer and BatchNorm2d take turns, so that whatever else the machine does hits both; a ratio is the
median over the rounds of time by time, and of nothing else do the numbers mean anything. A ReLU
follows either, but for a norm that has it inside. A norm that reparametrizes its conv is timed with
the new weight's forward and backward (3x3, C to C), without the conv; one that needs the conv's
input is timed with its conv, against conv + BatchNorm2d + ReLU.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench import norms
from normbench.norms import Norm

SHAPES = ((32, 256, 14, 14), (32, 64, 56, 56))  # fp32, NCHW
THREADS = (1, 2)
LIMITS = {
    "bn": 1.1, "bn, 16 workers": 1.1, "gn": 1.1, "ln": 1.1, "in": 1.1, "gn_ws": 1.3, "brn": 1.4, "cbn": 1.5, "frn": 1.6,
    "evonorm_s0": 2.2, "sn": 2.5, "mabn": 2.5, "bcn": 2.5, "lrn": 4.0,
}  # fmt: skip
# Past warm-up, where a layer works as it does in most of its training
# at 32 images its window would be one batch
WARM: dict[str, dict[str, object]] = {"mabn": {"window": 4}}
WARM_STEPS = 6  # fills the windows of 4; plan() below lets warm-ups end within these steps

Run = Callable[[], None]


def build(label: str, shape: tuple[int, ...]) -> tuple[Run, Run]:
    """One forward and backward of the norm, and of what it is compared with."""
    name, _, workers = label.partition(", ")
    n, channels, *_ = shape
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    norm = norms.build(name, conv, relu=True, workers=int(workers.split()[0]) if workers else 1, **WARM.get(name, {}))
    norm.plan(sgd_batch=n, steps_per_epoch=1, epochs=1)
    baseline = nn.BatchNorm2d(channels)
    y, grad = torch.randn(shape), torch.randn(shape)
    if norm.needs_input:
        other = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        return _step(lambda x: _norm(norm, conv(x), x), y, grad), _step(lambda x: F.relu(baseline(other(x))), y, grad)
    ours = _step(lambda x: _norm(norm, x), y, grad, conv if norm.alters_conv else None)
    return ours, _step(lambda x: F.relu(baseline(x)), y, grad)


def _norm(norm: Norm, *inputs: Tensor) -> Tensor:
    out = norm(*inputs)
    return out if norm.owns_activation else F.relu(out)


def _step(forward: Callable[[Tensor], Tensor], y: Tensor, grad: Tensor, conv: nn.Conv2d | None = None) -> Run:
    leaf = y.clone().requires_grad_()

    def run() -> None:
        leaf.grad = None
        out = forward(leaf)
        if conv is None:
            torch.autograd.backward(out, grad)
        else:
            # standardized or rescaled here, by the norm's parametrization
            weight: Tensor = conv.weight
            torch.autograd.backward([out, weight], [grad, weight.detach()])

    return run


def ratio(label: str, shape: tuple[int, ...], rounds: int) -> float:
    ours, theirs = build(label, shape)
    for _ in range(WARM_STEPS):
        ours()
        theirs()
    return statistics.median(_seconds(ours) / _seconds(theirs) for _ in range(rounds))


def _seconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def labels() -> list[str]:
    names = norms.names()
    return [label for name in names for label in ([name, "bn, 16 workers"] if name == "bn" else [name])]


def machine() -> str:
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("norms", nargs="*", help="names; all of them by default")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    chosen = [label for label in labels() if not options.norms or label.partition(",")[0] in options.norms]

    print(f"{time.strftime('%Y-%m-%d')}, {machine()}. Forward + backward, fp32 NCHW; ratio to nn.BatchNorm2d + ReLU")
    print(f"in one interleaved run, median of {options.rounds} rounds.\n")
    columns = [f"{'x'.join(map(str, shape))}, {n} thread{'s' * (n > 1)}" for shape in SHAPES for n in THREADS]
    print(f"| norm | {' | '.join(columns)} | limit | |")
    print(f"|---|{'---:|' * len(columns)}---:|---|")
    for label in chosen:
        found = []
        for shape in SHAPES:
            for threads in THREADS:
                torch.set_num_threads(threads)
                found.append(ratio(label, shape, options.rounds))
        limit = LIMITS.get(label)
        verdict = "" if limit is None else "within" if max(found) <= limit else "**above**"
        with_conv = " (with its conv)" if norms.layer(label.partition(",")[0]).needs_input else ""
        cells = " | ".join(f"{value:.2f}" for value in found)
        print(f"| {label}{with_conv} | {cells} | {limit or ''} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
