"""From a Config, as typed, to a Run: fills in what was left open, and checks what follows from it.

No torch.
"""

from dataclasses import replace
from typing import Any

from normbench import facts
from normbench.checks import check
from normbench.config import EVAL_STATS, Config, ConfigError, Data, Probe
from normbench.run_checks import check_checkpoint, check_labels, check_train_size, check_window, with_classes_counted
from normbench.runs import ModelChoice, NormChoice, Run, Watched

PROBE_STEPS = 10  # between two lines of probes.jsonl, where nothing else is asked


def settle(config: Config, norm_schema: dict[str, Any], network_defaults: dict[str, Any], files: bool = True) -> Run:
    """The run that this Config asks for; raises ConfigError with the first rule broken.

    norm_schema: conf/norm/<name>.yaml. network_defaults: the options of conf/model/<name>.yaml.
    files: whether the data set's files have to be there.
    """
    check(config, norm_schema)
    workers, sgd_batch = _workers_and_sgd_batch(config)
    run = Run(
        model=_network(config, network_defaults),
        data=_data(config.data),
        norm=_norm(config.norm, norm_schema),
        recipe=config.recipe,
        protocol=config.protocol.name,
        probe=_watched(config.probe),
        train=config.train,
        tracker=config.tracker,
        launcher=config.launcher,
        experiment=config.experiment,
        batch=config.batch,
        workers=workers,
        sgd_batch=sgd_batch,
        seed=config.seed,
        precision=config.precision,
        eval_stats=config.eval_stats,
        # [] is off, and the order makes no difference
        eval_also=[name for name in EVAL_STATS if name in (config.eval_also or ())] or None,
        precise_images=config.precise_images,
        device=config.device,
        channels_last=config.channels_last,
        threads=config.threads,
        eval_batch=config.eval_batch,
        checkpoint_steps=config.checkpoint_steps,
        out=config.out,
        overwrite=config.overwrite,
    )
    known = run.data.train_size or run.data.train_images
    if known is not None:
        check_train_size(run, known)
    check_window(run)
    if files:
        check_checkpoint(run.norm.options.get("checkpoint"))
    if files or facts.of_data(run.data).only_counted:
        run = replace(run, data=with_classes_counted(run.data))
    check_labels(run)
    return run


# ---------------------------------------------------------------------------- what was left open


def _network(config: Config, defaults: dict[str, Any]) -> ModelChoice:
    model = config.model
    return ModelChoice(model.name, model.options, _label(model.name, model.options, defaults), model.gn_min_channels)


def _data(data: Data) -> Data:
    return replace(data, options=_floats(data.options, facts.own_options(data)))


def _floats(typed: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The options, a number as its default is one: eps=1 and eps=1.0 are one experiment."""
    return {
        key: float(value) if isinstance(defaults[key], float) and isinstance(value, int) else value
        for key, value in typed.items()
    }


def _norm(typed: dict[str, Any], schema: dict[str, Any]) -> NormChoice:
    options = _floats({key: value for key, value in typed.items() if key not in ("name", "batch_free")}, schema)
    return NormChoice(typed["name"], typed["batch_free"], options, _label(typed["name"], options, schema))


def _label(name: str, options: dict[str, Any], defaults: dict[str, Any]) -> str:
    """A name and the options that differ from its yaml: gn, gn-groups8, cifar_resnet8-width32."""
    differing = {k: v for k, v in options.items() if not _is_default(v, defaults.get(k))}
    return name.replace("/", "_") + "".join(f"-{k}{_in_a_path(v)}" for k, v in differing.items())


def _is_default(value: Any, default: Any) -> bool:
    return value == default or (isinstance(default, str) and "${" in default)


def _in_a_path(value: Any) -> str:
    return "".join(c if c.isalnum() or c in "._+-" else "_" for c in str(value))


def _watched(probe: Probe) -> Watched | None:
    return None if probe.layer is None else Watched(probe.layer, probe.every or PROBE_STEPS)


def _workers_and_sgd_batch(config: Config) -> tuple[int, int]:
    """One of the two is given, the other follows: sgd_batch = batch x workers."""
    protocol, batch = config.protocol, config.batch
    if protocol.name == "per_worker":
        if protocol.sgd_batch is not None:
            raise ConfigError(f"protocol=per_worker takes workers, got protocol.sgd_batch={protocol.sgd_batch}")
        workers = config.workers or protocol.workers
        if workers is None:
            raise ConfigError("protocol=per_worker needs the number of workers, e.g. workers=8")
        if config.sgd_batch not in (None, batch * workers):
            raise ConfigError(
                f"sgd_batch={config.sgd_batch} cannot be set under protocol=per_worker, where it is batch x workers = "
                f"{batch} x {workers}; use protocol=fixed_sgd sgd_batch={config.sgd_batch}, or workers=..."
            )
        return workers, batch * workers
    if protocol.workers is not None:
        raise ConfigError(f"protocol=fixed_sgd takes sgd_batch, got protocol.workers={protocol.workers}")
    sgd_batch = config.sgd_batch or protocol.sgd_batch
    if sgd_batch is None:
        raise ConfigError("protocol=fixed_sgd needs the images per optimizer step, e.g. sgd_batch=256")
    if sgd_batch % batch:
        raise ConfigError(
            f"batch={batch} must divide sgd_batch={sgd_batch} (workers = sgd_batch / batch); "
            f"use batch={_nearest_divisor(sgd_batch, batch)} or sgd_batch={batch * max(1, sgd_batch // batch)}"
        )
    if config.workers not in (None, sgd_batch // batch):
        raise ConfigError(
            f"workers={config.workers} cannot be set under protocol=fixed_sgd, where it is sgd_batch / batch = "
            f"{sgd_batch} / {batch}; use protocol=per_worker workers={config.workers}, or sgd_batch=..."
        )
    return sgd_batch // batch, sgd_batch


def _nearest_divisor(number: int, near: int) -> int:
    near = min(near, number)
    return next(d for away in range(near) for d in (near - away, near + away) if number % d == 0)
