"""The contract that every norm keeps, as a report: yours too.

    from normbench.testing import check_norm
    report = check_norm(MyNorm)   # a class, a name, or a factory(conv, relu=..., workers=...)
    print(report)                 # a table: check, state, measured, limit, note
    assert report.ok, report.failures

It runs on a CPU in a few seconds, in float64 where numbers are compared, on tiny tensors drawn from
fixed seeds.
"""

from collections.abc import Callable, Sequence
from functools import partial

from normbench import norms
from normbench.norms import Norm
from normbench.testing import numbers, shapes, state
from normbench.testing.numbers import Found
from normbench.testing.report import Outcome, Report, Skip
from normbench.testing.subject import Factory, Reference, Subject

__all__ = ["CHECKS", "EXTRA_CHECKS", "Outcome", "Report", "check_norm"]

CHECKS: dict[str, Callable[[Subject], Found]] = {
    "formula": numbers.formula,
    "gradient": numbers.gradient,
    "gradient layouts": numbers.gradient_layouts,
    "batch independence": numbers.batch_independence,
    "virtual workers": state.virtual_workers,
    "mean over workers": state.mean_over_workers,
    "histories": state.histories,
    "resume": state.resume,
    "deepcopy": state.deepcopy,
    "evaluation": state.evaluation,
    "measuring": state.measuring,
    "parameters": state.parameters,
    "relu": shapes.relu,
    "bf16": numbers.bfloat16,
    "fp16": numbers.float16,
    "autocast": numbers.autocast,
    "memory format": shapes.memory_format,
    "constant channel": numbers.constant,
    "1x1 map": shapes.one_by_one,
    "batch 1": shapes.batch_one,
    "one value": shapes.one_value,
    "dimensions": shapes.dimensions,
    "compile": shapes.compiled,
}
# Run by name only: it takes a minute and a compiler.
EXTRA_CHECKS: dict[str, Callable[[Subject], Found]] = {"inductor": shapes.inductor}


def check_norm(
    factory: str | type[Norm] | Factory,
    *,
    name: str = "",
    batch_free: bool | None = None,
    reference: Reference | None = None,
    only: Sequence[str] = (),
    channels: int = 8,
    images: int = 4,
    workers: int = 3,
    steps: int = 4,
) -> Report:
    """Runs the contract on a norm and reports what each check measured.

    factory: factory(conv, relu=..., workers=...) gives the Norm behind conv, a Conv1d, Conv2d,
    Conv3d or Linear layer with `channels` outputs; or the name that norm= takes, for the layer with
    its default options.
    name: for the table's title. batch_free: whether an image's output depends on that image alone;
    by default what the layer's class says. reference(y, norm, x) -> array: the formula in NumPy
    float64, for a training step of one worker: y is the conv's output, x its input, norm a copy of
    the layer before that step; called for `steps` steps in their order.
    only: the checks to run, by their names in CHECKS or EXTRA_CHECKS; all of CHECKS by default.
    channels, images (a worker), workers, steps: the sizes of the trials, for a layer with needs of
    its own.

    A check that raises has failed, with the error as its note; nothing is raised here but for an
    unknown name.
    """
    if isinstance(factory, str):
        name = name or factory
        norms.layer(factory)
    else:
        name = name or getattr(factory, "name", "") or getattr(factory, "__name__", "norm")
    if isinstance(factory, (str, type)):
        factory = partial(norms.build, factory)
    subject = Subject(factory, reference, batch_free, channels=channels, images=images, workers=workers, steps=steps)
    checks = CHECKS if not only else {check: (CHECKS | EXTRA_CHECKS)[check] for check in only}
    return Report(name, tuple(_outcome(check, run, subject) for check, run in checks.items()))


def _outcome(check: str, run: Callable[[Subject], Found], subject: Subject) -> Outcome:
    try:
        measured, limit, note = run(subject)
    except Skip as reason:
        return Outcome(check, "skipped", note=str(reason))
    except Exception as error:  # noqa: BLE001  whatever a stranger's layer does wrong is a finding
        text = " ".join(str(error).split())
        kind = "" if isinstance(error, AssertionError) and text else f"{type(error).__name__}: "
        return Outcome(check, "failed", note=(kind + text)[:500])
    return Outcome(check, "passed" if measured <= limit else "failed", measured, limit, note)
