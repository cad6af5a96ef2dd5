"""Checks of what a layer remembers: across workers, interruptions, evaluation and measuring."""

import copy
import io

import torch
from torch import Tensor

from normbench.norms import RunningNorm
from normbench.testing.numbers import Found
from normbench.testing.report import Skip
from normbench.testing.subject import (
    Layer,
    Subject,
    cotangent,
    differing,
    distance,
    farthest,
    frozen_copy,
    sgd,
    state,
    trace,
    train,
    trained,
)


def virtual_workers(subject: Subject) -> Found:
    """One layer that plays w workers equals w layers that each see their own images.

    Outputs, input gradients and the summed parameter gradients of every step, and the evaluation
    after each. Where workers follow one another (sequential), only the first is as it would be
    alone.
    """
    if subject.layer().norm.sequential:
        return _first_worker(subject)
    return _against_real_workers(subject, average=False)


def mean_over_workers(subject: Subject) -> Found:
    """With average_workers, evaluation uses the mean over the workers' running statistics."""
    if not isinstance(subject.layer().norm, RunningNorm):
        raise Skip("keeps no running statistics")
    if subject.layer().norm.sequential:
        raise Skip("has one set of running statistics for the workers in their order (sequential = True)")
    return _against_real_workers(subject, average=True)


def _first_worker(subject: Subject) -> Found:
    w = subject.workers
    x = subject.x(workers=w)
    one, alone = subject.layer(workers=w), subject.layer()
    grad = cotangent(frozen_copy(one).eval()(x))
    whole, part = trace(one, x, grad), trace(alone, x[::w], grad[::w])
    worst = max(distance(whole.out[::w], part.out), distance(whole.x_grad[::w], part.x_grad))
    return (
        worst,
        subject.limit,
        "the first worker's output and input gradient; those behind it build on it (sequential)",
    )


def _against_real_workers(subject: Subject, average: bool) -> Found:
    w = subject.workers
    one = subject.layer(workers=w)
    # Then all workers' images meet in one statistic, as if they were one worker's.
    joint = one.norm.synchronized
    many = [subject.layer() for _ in range(1 if joint else w)]
    for layer in (one, *many):
        if isinstance(layer.norm, RunningNorm):
            layer.norm.average_workers = average
    optimizers = [sgd(layer) for layer in (one, *many)]
    worst = 0.0
    for step in range(subject.steps):
        x = subject.x(workers=w, step=step)
        grad = cotangent(frozen_copy(one).eval()(x), step)
        whole = trace(one, x, grad)
        parts = [trace(layer, x[j :: len(many)], grad[j :: len(many)]) for j, layer in enumerate(many)]
        for j, part in enumerate(parts):
            worst = max(worst, distance(whole.out[j :: len(many)], part.out))
            worst = max(worst, distance(whole.x_grad[j :: len(many)], part.x_grad))
        for name, parameter in one.named_parameters():
            if parameter.grad is None:
                continue
            # What real workers would all-reduce.
            total = torch.stack([_gradient(layer, name) for layer in many]).sum(0)
            worst = max(worst, distance(parameter.grad, total))
            for layer in many:
                layer.get_parameter(name).grad = total.clone()
        for optimizer in optimizers:
            optimizer.step()
        worst = max(worst, distance(frozen_copy(one).eval()(x), _evaluator(many, average).eval()(x)))
    what = "mean running statistics" if average else "outputs, gradients and evaluation"
    against = "one worker with all images" if joint else f"{w} layers with their own images"
    return worst, subject.limit, f"{what} of {subject.steps} steps against {against}"


def _gradient(layer: Layer, name: str) -> Tensor:
    grad = layer.get_parameter(name).grad
    assert grad is not None, f"{name} has a gradient with many workers and none with one"
    return grad


def _evaluator(many: list[Layer], average: bool) -> Layer:
    """Worker 0's layer, or one with the mean of the workers' running statistics."""
    layer = frozen_copy(many[0])
    if average:
        for name, buffer in layer.named_buffers():
            if name.rpartition(".")[2] in ("running_mean", "running_var"):
                buffer.copy_(torch.stack([other.get_buffer(name) for other in many]).mean(0))
    return layer


def histories(subject: Subject) -> Found:
    """The buffers that grow with the workers are those declared, each along the axis it says.

    So a checkpoint written by several ranks holds every worker's past, and each rank gets its own
    workers' back.
    """
    one, many = subject.layer().norm, subject.layer(workers=subject.workers).norm
    declared = {name: axis for name, _, axis in many.remembered()}
    for name, buffer in many.named_buffers():
        alone = one.get_buffer(name).shape
        if name in declared:
            grown = list(alone)
            grown[declared[name]] *= subject.workers
            assert list(buffer.shape) == grown, (
                f"{name} is {tuple(alone)} for one worker and {tuple(buffer.shape)} for more"
            )
        else:
            assert buffer.shape == alone, (
                f"{name} grows with the workers; histories must name it and its axis of workers"
            )
    return 0.0, 0.0, f"{', '.join(declared) or 'no buffer'} of each worker's own"


def resume(subject: Subject) -> Found:
    """Cut and continued from saved state, optimizer included: bit for bit the uncut run."""
    w, half = subject.workers, range(subject.steps)
    rest = range(subject.steps, 2 * subject.steps)
    uncut = subject.layer(workers=w, dtype=torch.float32)
    optimizer = sgd(uncut)
    train(subject, uncut, half, optimizer, workers=w, dtype=torch.float32)

    file = io.BytesIO()
    torch.save({"model": uncut.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    # Other weights, to be overwritten.
    again = subject.layer(workers=w, dtype=torch.float32, seed=1)
    again.load_state_dict(saved["model"])
    resumed = sgd(again)
    resumed.load_state_dict(saved["optimizer"])

    outs = train(subject, uncut, rest, optimizer, workers=w, dtype=torch.float32)
    others = train(subject, again, rest, resumed, workers=w, dtype=torch.float32)
    _same("the resumed run", outs, others, uncut, again)
    return 0.0, 0.0, f"state_dict through torch.save, then {len(rest)} steps bit for bit"


def deepcopy(subject: Subject) -> Found:
    """A deep copy goes on bit for bit like the original, and neither touches the other."""
    w, rest = subject.workers, range(subject.steps, 2 * subject.steps)
    layer = trained(subject, workers=w, dtype=torch.float32)
    twin = copy.deepcopy(layer)
    before = state(twin)
    outs = train(subject, layer, rest, sgd(layer), workers=w, dtype=torch.float32)
    changed = differing(before, state(twin))
    assert not changed, f"training the original changed the copy's {', '.join(changed)}"
    others = train(subject, twin, rest, sgd(twin), workers=w, dtype=torch.float32)
    _same("the copy", outs, others, layer, twin)
    return 0.0, 0.0, f"{len(rest)} steps bit for bit"


def _same(what: str, outs: list[Tensor], others: list[Tensor], layer: Layer, other: Layer) -> None:
    for step, (a, b) in enumerate(zip(outs, others, strict=True), 1):
        assert torch.equal(a, b), f"{what} differs by {distance(b, a):.1e} in the output of its step {step}"
    names = differing(state(layer), state(other))
    assert not names, f"{what} ends with other {', '.join(names)}"


def evaluation(subject: Subject) -> Found:
    """Evaluation changes no state, treats images alone, and is training where batch-free."""
    w = subject.workers
    layer = trained(subject, workers=w)
    before = state(layer)
    x = subject.x(workers=w, step=9)[:-1]  # a number that the workers do not divide
    layer.eval()
    out = layer(x)
    with torch.no_grad():
        worst = distance(layer(x), out)
        worst = max(worst, farthest([layer(x[i : i + 1])[0] for i in range(3)], out[:3]))
    changed = differing(before, state(layer))
    assert not changed, f"evaluation changed {', '.join(changed)}"
    note = "no state changed, images treated alone"
    if subject.claims_batch_free():
        x = subject.x(workers=w, step=9)
        worst = max(worst, distance(frozen_copy(layer).train()(x), layer(x)))
        note += ", equal to training"
    return worst, subject.limit, note


def measuring(subject: Subject) -> Found:
    """Measuring statistics (eval_stats=precise) between two training steps changes nothing."""
    layer = trained(subject, workers=subject.workers)
    norm = layer.norm
    if not isinstance(norm, RunningNorm):
        raise Skip("keeps no running statistics")
    if norm.needs_measuring:
        raise Skip("normalizes with the measured statistics themselves")
    plain = frozen_copy(layer)
    norm.start_measuring()
    with torch.no_grad():
        for step in (20, 21):
            layer(subject.x(workers=subject.workers, step=step))
    norm.finish_measuring()
    steps = range(subject.steps, 2 * subject.steps)
    outs = train(subject, layer, steps, sgd(layer), workers=subject.workers)
    others = train(subject, plain, steps, sgd(plain), workers=subject.workers)
    return farthest(outs, others), 0.0, f"{len(steps)} training steps after it, bit for bit"


def parameters(subject: Subject) -> Found:
    """Every parameter gets a gradient, the conv keeps its own, and gamma and beta are (C,)."""
    for relu in (True, False):
        layer = trained(subject, workers=subject.workers, relu=relu)
        found = trace(layer, subject.x(workers=subject.workers))
        none = [name for name, p in layer.named_parameters() if p.requires_grad and found.grads[name] is None]
        assert not none, f"no gradient for {', '.join(none)} (relu={relu})"
        shared = {id(p) for p in layer.conv.parameters()} & {id(p) for p in layer.norm.parameters()}
        assert not shared, "the norm holds its conv as a submodule, which doubles its weights in a state_dict"
        for name in ("weight", "bias"):
            value = getattr(layer.norm, name, None)
            assert value is None or value.shape == (subject.channels,), f"{name} has shape {tuple(value.shape)}"
        loose = [k for k, v in vars(layer.norm).items() if isinstance(v, Tensor)]
        assert not loose, f"{', '.join(loose)}: a tensor that is neither buffer nor parameter, lost on resume and .to()"
    return 0.0, 0.0, "each with a gradient; none shared with the conv; no tensor outside the state_dict"
