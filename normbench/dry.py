"""`--dry`: shows what a command would train, and what of it is done. Writes nothing. No torch."""

import shlex
from pathlib import Path

from rich.table import Table
from rich.text import Text

from normbench import command, measured, records
from normbench.plan import PlannedRun, match, plan
from normbench.runs import Run
from normbench.study.read.text import as_text


def show(composed: list[tuple[list[str], Run]], typed: list[str], sweep: bool) -> None:
    """Prints the runs of a command with states and costs, and the commands that start the rest.

    composed: each run with the overrides that make it. typed: the overrides of the whole command.
    sweep: whether with -m.
    """
    planned, remarks = plan(composed)
    machine = match(planned, list(measured.read(Path(measured.PATH)).values()))
    lines = [*_totals(planned, machine, typed), *remarks, *_commands(planned, typed, sweep)]
    command.terminal().print(_table(planned), Text("\n".join(map(as_text, lines))), sep="")


def _table(planned: list[PlannedRun]) -> Table:
    names = ("data", "model", "norm", "batch", "workers", "seed", "state", "epochs", "steps left", "device-hours left")
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name in ("data", "model", "norm", "state") else "right", no_wrap=True)
    for each in planned:
        run = each.run
        batch = ("any", "any") if run.batch_free else (str(run.batch), str(run.workers))
        done = f"{each.epochs_done}/{each.epochs}"
        steps = f"{each.epochs_left * each.steps_per_epoch:,}"
        labels = (run.data.name, run.model.label, run.norm.label)
        table.add_row(*labels, *batch, str(run.seed), each.state, done, steps, _hours(each))
    return table


def _hours(planned: PlannedRun) -> str:
    return "-" if planned.hours_left is None else _hours_text(planned.hours_left)


def _hours_text(hours: float) -> str:
    """Hours to about three digits."""
    return "0" if hours == 0 else f"{hours:,.{1 if hours >= 10 else 2 if hours >= 1 else 3}f}"


def _totals(planned: list[PlannedRun], machine: str | None, typed: list[str]) -> list[str]:
    """Counts and sums, what the hours rest on, and how to measure those that are not known."""
    states = [each.state for each in planned]
    counts = "  ".join(f"{states.count(state)} {state}" for state in records.STATES if state in states)
    left = sum(each.epochs_left * each.steps_per_epoch for each in planned)
    whole = sum(each.epochs * each.steps_per_epoch for each in planned)
    lines = [f"cells: {len(planned)}, {counts}", f"steps: {left:,} left of {whole:,}"]
    known = [each for each in planned if each.epoch_hours is not None]
    if known:
        to_pay = _hours_text(sum(each.hours_left or 0.0 for each in known))
        in_all = _hours_text(sum(each.epochs * (each.epoch_hours or 0.0) for each in known))
        of = f", for the {len(known)} of {len(planned)} cells that are measured" if len(known) < len(planned) else ""
        lines += [
            f"device-hours on {machine}: {to_pay} still to pay of {in_all}{of}",
            f"(one device plays all workers, at the img/s of {measured.PATH}; reading images is not in it)",
        ]
    if unknown := [each for each in planned if each.hours_left is None]:
        lines.append(f"not measured yet: {len(unknown)} of {len(planned)} cells; {_measure(unknown, typed)}")
    return lines


def _measure(planned: list[PlannedRun], typed: list[str]) -> str:
    """The command that profiles these runs, and those between them where they are no whole grid.

    All of the sweep's, as it was typed, where the runs have not all the same keys.
    """
    values: dict[str, dict[str, None]] = {}
    alike = len({frozenset(text.partition("=")[0] for text in each.typed) for each in planned}) == 1
    for override in [text for each in planned for text in each.typed] if alike else typed:
        key, given, value = override.partition("=")
        if key.lstrip("+") not in ("seed", "out", "overwrite") and not key.startswith("hydra"):
            values.setdefault(key + given, {})[value] = None
    return shlex.join(["normbench", "profile", *(key + ",".join(v) for key, v in values.items())])


def _commands(planned: list[PlannedRun], typed: list[str], sweep: bool) -> list[str]:
    """The commands that start the rest: the whole sweep's, and each unfinished run's own."""
    unfinished = [each for each in planned if each.epochs_left and each.state != "running"]
    if not unfinished:
        running = sum(each.state == "running" for each in planned)
        return [f"nothing to start: {running} running" if running else "nothing to start: all is finished"]
    alone = [shlex.join(["normbench", *each.typed]) for each in unfinished]
    if not sweep:
        return ["to start it, or continue it:", *alone]
    whole = shlex.join(["normbench", "-m", *typed])
    return ["to start it, or continue it:", whole, "or cell by cell:", *alone]
