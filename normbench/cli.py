"""The command line: one run, a sweep, several ranks.

Hydra composes and launches; what it says is made one line.

    normbench norm=gn batch=2
    normbench -m norm=bn,gn batch=2,4,8 --dry
    normbench -m norm=bn,gn batch=2,4,8 [hydra/launcher=joblib|ray|slurm]
    torchrun --nproc_per_node=4 -m normbench norm=syncbn batch=2

Every run, a sweep's too, is composed and checked before anything starts and before torch is
imported. Under torchrun rank 0 is the only Hydra app and leads; it broadcasts each Run, and the
other ranks follow.
"""

import importlib
import os
import sys
import traceback
from dataclasses import replace

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from normbench import dry, launch, paths, records, slurm, stopping, sweeps, usage, watch
from normbench.compose import composed, planned, run_of, settled
from normbench.config import ConfigError
from normbench.execute import execute
from normbench.hints import again, one_line
from normbench.runs import Run

HYDRA_FLAGS = {"--hydra-help", "--resolve", "--info", "-i", "--cfg", "-c", "--package", "-p"}
HYDRA_FLAGS |= {"--shell-completion", "-sc"}
HYDRA_VALUES: dict[str, tuple[str, ...]] = dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all"))
HYDRA_VALUES |= dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"))
# modules with a main(arguments)
COMMANDS = ("collect", "figures", "norms", "profile", "report", "show", "tables")
INTERRUPTED = 130  # a shell's exit code for SIGINT


def main() -> None:
    """The console script `normbench`, and `normbench`.

    A first word of COMMANDS is that command.
    """
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(_command(sys.argv[1], sys.argv[2:]))
    if not _many_ranks():
        sys.exit(_guarded(sys.argv[1:]))
    if "TORCHELASTIC_RUN_ID" in os.environ:
        stopping.follow_the_parent()
    from torch.distributed.elastic.multiprocessing.errors import record

    code = record(_guarded)(sys.argv[1:])  # torchrun's report of a rank that fails names the error
    # A gloo thread may still be freeing the last collective's tensors. It takes the interpreter's
    # lock for that, and aborts the process where the interpreter is ending: so this one is not
    # ended, only the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _command(name: str, arguments: list[str]) -> int:
    """`normbench figures demo` is `normbench figures demo`."""
    from normbench import command

    module = importlib.import_module(f"normbench.{'norms.__main__' if name == 'norms' else name}")
    return command.run(lambda: module.main(arguments))


def _guarded(arguments: list[str]) -> int:
    """The exit code: 0; 1 with one line on stderr for what the user can mend; 130, 143 if stopped.

    130 is Ctrl-C's, 143 SIGTERM's.
    """
    with stopping.listening():
        return _told(arguments)


def _told(arguments: list[str]) -> int:
    """The same, SIGTERM being listened to."""
    try:
        if _many_ranks() and "--dry" in arguments:  # nothing to share: rank 0 says it
            return _dispatch(arguments) if os.environ["RANK"] == "0" else 0
        return _ranks(arguments) if _many_ranks() else _dispatch(arguments)
    except (ConfigError, records.Busy) as e:
        print(f"normbench: {e}", file=sys.stderr)
        return 1
    except OSError as e:  # a full disk, a folder that cannot be written, a name too long
        print(f"normbench: {again(e)}", file=sys.stderr)
        return 1
    except stopping.Stopped as e:
        return _stopped(e)
    except KeyboardInterrupt:
        print("normbench: interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        if stopping.asked():  # the other ranks were told too, and some have gone
            return _stopped(stopping.Stopped())
        raise


def _stopped(end: stopping.Stopped) -> int:
    if os.environ.get("RANK", "0") == "0":
        print(end.line, file=sys.stderr)
    return stopping.CODE


def _dispatch(arguments: list[str]) -> int:
    for a in arguments:
        if not a.isprintable():  # it would be written to the terminal
            raise ConfigError(f"{a!a}: a character that cannot be printed; leave it out")
    if "--help" in arguments or "-h" in arguments:
        print(usage.text([a for a in arguments if not a.startswith("-")]))
        return 0
    if "--version" in arguments:
        print(usage.version())
        return 0
    if flag := next((a for a in arguments if a.split("=")[0] in HYDRA_FLAGS), None):
        if "--dry" in arguments:
            raise ConfigError(f"--dry cannot be combined with {flag}; ask for one of them")
        _check_flags(arguments)
        _hydra_app(arguments)
        return 0
    several = any(a in ("-m", "--multirun") for a in arguments)
    overrides = [a for a in arguments if a not in ("-m", "--multirun", "--dry")]
    for a in overrides:
        if a.startswith("--dr"):
            raise ConfigError(f"{a}: no such flag; --dry, without a value, shows what a command would run")
        if a.startswith("-") or ("=" not in a and not a.startswith("~")):
            name = a.lstrip("-") or "key"
            raise ConfigError(f"{a}: settings are key=value, e.g. {name}=... ; --help lists the keys, -m makes a sweep")
    if "--dry" in arguments:
        plan = planned(overrides, files=False) if several else [(overrides, run_of(overrides, files=False))]
        dry.show(plan, overrides, several)
        return 0
    if not several and (engine := launch.chosen(overrides)) != "basic":
        raise ConfigError(f"hydra/launcher={engine} launches the cells of a sweep; add -m")
    return sweeps.train(overrides, job, _many_ranks()) if several else _one(run_of(overrides), overrides)


def _check_flags(arguments: list[str]) -> None:
    """What Hydra's flags cannot answer: it would go on to train, or say more than a line."""
    flags = {a.split("=")[0] for a in arguments}
    if flags & {"--package", "-p", "--resolve"} and not flags & {"--cfg", "-c"}:
        raise ConfigError("--package and --resolve say which part of --cfg is shown; add --cfg job")
    for flag, values in HYDRA_VALUES.items():
        if flag in arguments:
            value = next(iter(arguments[arguments.index(flag) + 1 :]), None)
            if value not in values and (flag in ("--cfg", "-c") or (value and "=" not in value and value[0] != "-")):
                raise ConfigError(f"{flag} {value or ''}: one of {', '.join(values)}")
    if flags & {"--shell-completion", "-sc"} and not any("install=" in a or "query=" in a for a in arguments):
        raise ConfigError("--shell-completion: add install=bash, or zsh, or fish; uninstall=bash takes it away")
    if flags & {"--cfg", "-c", "--info", "-i"} and not flags & {"-m", "--multirun"}:
        composed([a for a in arguments if not a.startswith("-") and "=" in a])


def _one(run: Run, overrides: list[str]) -> int:
    _lead(run, overrides, in_sweep=False)
    return 0


# ---------------------------------------------------------------------------- a sweep


def _hydra_app(arguments: list[str]) -> None:
    """Hands over to Hydra: its flags, and completion."""
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(version_base="1.3", config_path=str(paths.conf()), config_name="config")(job)()


def job(config: DictConfig) -> str:
    """One run of a sweep, in whatever process the launcher chose.

    A failure is said at once; the other runs go on. Slurm starts one such process per rank: all of
    them train the run, and the first one speaks and writes.
    """
    overrides = list(HydraConfig.get().overrides.task)
    launch.claim()
    launch.join()
    try:
        stopping.check()
        run = settled(config)
        if slurm.goes_on(run.folder):
            run = replace(run, overwrite=False)
        return _as_rank(run, overrides) if slurm.ranks() else _lead(run, overrides, in_sweep=True)
    except records.Busy as e:
        print(e, flush=True)
        return "running"
    except stopping.Stopped as e:
        if not launch.in_pool():
            raise
        print(e.line, file=sys.stderr, flush=True)
        return "cut"
    except Exception as e:
        print(f"FAILED {' '.join(overrides)}: {one_line(e)}", file=sys.stderr, flush=True)
        if not isinstance(e, ConfigError):
            if not isinstance(e, OSError):
                traceback.print_exc()
            if _many_ranks():  # the ranks are out of step: nothing that follows could be trusted
                raise SystemExit(1) from e
        return "failed"


# ---------------------------------------------------------------------------- several ranks


def _many_ranks() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def _lead(run: Run, overrides: list[str], in_sweep: bool) -> str:
    """Trains a run on this process and, under torchrun, on the ranks that follow."""
    if _many_ranks():
        from normbench.parallel import dist

        stopping.check()  # before the others are told of one run more
        dist.broadcast((run, overrides))
    return execute(run, overrides, say=not (in_sweep and watch.quiet()), in_sweep=in_sweep).status


def _ranks(arguments: list[str]) -> int:
    """One process group for the whole launch.

    Rank 0 leads; the others run each Run it broadcasts, until None.
    """
    from normbench.parallel import dist

    dist.start("cpu" if "device=cpu" in arguments else "auto")
    if dist.rank() != 0:
        _follow()
        return 0
    code = 1
    try:
        code = _guard_leader(arguments)
    finally:
        if code != INTERRUPTED and sys.exc_info()[0] is None:
            dist.broadcast(None)
            dist.stop()
    return code


def _guard_leader(arguments: list[str]) -> int:
    """What the leader refuses is refused by all ranks alike, so they can be released in step."""
    try:
        return _dispatch(arguments)
    except (ConfigError, records.Busy) as e:
        print(f"normbench: {e}", file=sys.stderr)
        return 1
    except SystemExit as e:  # Hydra's own end of --cfg and its other flags
        if e.code:
            raise
        return 0


def _as_rank(run: Run, overrides: list[str]) -> str:
    """One Slurm task's part in a run that all of them train."""
    from normbench.parallel import dist

    dist.start(run.device)
    try:
        status = execute(run, overrides, say=dist.rank() == 0, in_sweep=True).status
    except (ConfigError, records.Busy):
        dist.stop()  # every rank meets these alike; after anything else they are out of step
        raise
    dist.stop()
    return status


def _follow() -> None:
    from normbench.parallel import dist

    while (told := dist.broadcast(None)) is not None:
        run, overrides = told
        try:
            execute(run, overrides, say=False)
        except (ConfigError, records.Busy):
            continue  # rank 0 knows of it and says it
    dist.stop()
