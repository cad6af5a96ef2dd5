"""From what the user typed to a Run. Hydra composes; its complaints become one line each. No torch.

`normbench a=1 b=2` and `normbench.run(["a=1", "b=2"])` both go through run_of(), a sweep
through runs_of().
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normbench import facts, grids, paths, plugins
from normbench.complaints import explain, parse, unknown
from normbench.config import GROUPS, Config, ConfigError
from normbench.grids import Grid
from normbench.hints import first_line
from normbench.runs import Run
from normbench.settle import settle
from normbench.typed import spelled, vet

ConfigStore.instance().store(group="schema", name="config", node=Config, package="_global_")
ConfigStore.instance().store(group="hydra/sweeper", name="grids", node=grids.Sweeper)
for _group in plugins.GROUPS:
    for _name in set(plugins.offered(_group)) - set(plugins.builtin(_group)):
        with suppress(ConfigError):  # told to whoever chooses that one, and to nobody else
            ConfigStore.instance().store(group=_group, name=_name, node=plugins.schema(_name, _group))


def run_of(overrides: list[str], files: bool = True) -> Run:
    """The run that these overrides make; raises ConfigError, one line, for what is wrong.

    files: whether the data set's files have to be there.
    """
    with hydra_here():
        overrides = spelled(overrides)
        vet(overrides, sweep=False)
        return settled(_compose(_one_cell(overrides)), files)


def runs_of(overrides: list[str], files: bool = True) -> list[Run]:
    """The runs of a sweep in the order of their launch, one for each combination."""
    return [run for _, run in planned(overrides, files)]


def planned(overrides: list[str], files: bool = True) -> list[tuple[list[str], Run]]:
    """The runs of a sweep, each with the overrides that make it without the sweep."""
    with hydra_here():
        overrides = spelled(overrides)
        vet(overrides, sweep=True)
        compose_one = _Composer()
        return [(typed, settled(compose_one(typed), files)) for typed in _cells(overrides, _union(overrides))]


def composed(overrides: list[str]) -> DictConfig:
    """The configuration as Hydra composes it, its values not yet checked."""
    with hydra_here():
        overrides = spelled(overrides)
        vet(overrides, sweep=False)
        return _compose(overrides)


def settled(composed: DictConfig, files: bool = True) -> Run:
    """The run of a composed configuration; raises ConfigError."""
    if key := unknown(composed, Config):
        raise ConfigError(f"{key}: no such key, and + would add one that nobody reads; leave it out")
    _check_data(composed)
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as e:
        missing = sorted(OmegaConf.missing_keys(composed))
        said = f"{missing[0]} must be given: {missing[0]}=..." if missing else first_line(e)
        raise ConfigError(said) from None
    assert isinstance(config, Config)
    return settle(config, plugins.schema(str(config.norm.get("name"))), _network_defaults(config.model.name), files)


def _check_data(composed: DictConfig) -> None:
    """Raises ConfigError for a data set whose facts other values refer to, and which lacks them."""
    data = composed.data
    name = "" if OmegaConf.is_missing(data, "name") else str(data.name)
    facts.check_name(data.source, name)
    known = facts.of(data.source or name, name)
    if known.sgd_batch is None and OmegaConf.is_interpolation(composed.protocol, "sgd_batch"):
        way = "choose protocol=fixed_sgd sgd_batch=N, or protocol=per_worker workers=N"
        raise ConfigError(f"data={name} does not say which sgd_batch goes with it; {way}")


def _network_defaults(name: str) -> dict[str, Any]:
    """The options of a network's yaml, which a label leaves out; none without that file."""
    known = name in plugins.names("model")
    return dict(plugins.schema(name, "model").get("options") or {}) if known else {}


@contextmanager
def hydra_here() -> Iterator[None]:
    """Sets Hydra's global state for one composition; inside a Hydra app, puts its own back."""
    had = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(paths.conf()), version_base="1.3", job_name="normbench"):
            yield
    finally:
        GlobalHydra.instance().clear()
        if had is not None:
            GlobalHydra.instance().hydra = had


def _compose(overrides: list[str], hydra_too: bool = False) -> DictConfig:
    try:
        return compose("config", overrides=overrides, return_hydra_config=hydra_too)
    except (HydraException, OmegaConfBaseException) as e:
        raise ConfigError(explain(overrides, e)) from None


# ---------------------------------------------------------------------------- sweeps


def _union(overrides: list[str]) -> list[Grid]:
    """The grids that the chosen experiment brings along, [{}] where there is none."""
    single = [o for o in parse(overrides) if not o.is_sweep_override()]
    # of the values none: norm.window=4 may be meant for a norm that the grid chooses
    composed = _compose([o.input_line or "" for o in single if _is_choice(str(o.key_or_group))], hydra_too=True)
    sweeper = OmegaConf.to_container(composed.hydra.sweeper, resolve=True)
    assert isinstance(sweeper, dict)
    return grids.union({str(key): value for key, value in sweeper.items()})


def _cells(overrides: list[str], union: list[Grid]) -> list[list[str]]:
    """The overrides of each cell of a union of grids; what is typed alike is one cell.

    A key of the command line replaces that of every grid. An option of a norm that only some grids
    have is theirs alone, as the others choose other norms, unless the command line names the norm
    too; a grid's own option then goes where the norm has it.
    """
    plain = _no_hydra(overrides)
    keys = {text: str(parse([text])[0].key_or_group) for text in plain}
    of_some = {key for grid in union for key in grid if key.startswith("norm.")}
    named = "norm" in keys.values()
    cells: dict[tuple[str, ...], list[str]] = {}
    for grid in union:
        own = [f"{key}={values}" for key, values in grid.items() if key not in keys.values()]
        typed = [text for text in plain if named or keys[text] not in of_some or keys[text] in grid]
        for cell in _product([*own, *typed]):
            kept = _options_it_has(cell, set(grid) - set(keys.values())) if named else cell
            cells.setdefault(tuple(sorted(kept)), kept)
    return list(cells.values())


def _options_it_has(cell: list[str], own: set[str]) -> list[str]:
    """A cell without those of its grid's own norm options that its norm does not have."""
    name = next(str(o.value()) for o in reversed(parse(cell)) if o.key_or_group == "norm")
    if name not in plugins.names():
        return cell  # refused when it is composed
    foreign = {key for key in own if key.startswith("norm.") and key[5:] not in plugins.options(name)}
    return [text for text in cell if text.partition("=")[0] not in foreign]


def _one_cell(overrides: list[str]) -> list[str]:
    """The overrides of a single run; of an experiment's grid they leave one cell, or name it.

    Raises ConfigError where they leave several.
    """
    if not any(o.key_or_group == "experiment" for o in parse(overrides)):
        return overrides
    union, named = _union(overrides), {str(o.key_or_group) for o in parse(overrides)}
    if any(set(grid) <= named for grid in union):
        return overrides
    cells = _cells(overrides, union)
    if len(cells) == 1:
        return cells[0]
    experiment = next(text for text in overrides if text.startswith("experiment="))
    one = " ".join(text for text in cells[0] if text not in overrides)
    raise ConfigError(f"{experiment} is a sweep of {len(cells)} cells; add -m, or choose one of them, e.g. {one}")


class _Composer:
    """Composes the runs of a sweep: through Hydra once for each choice of groups.

    Values like batch=2 are set in copies of that: composing takes Hydra 60 ms, and a study has
    hundreds of runs. What a copy does not take is left to Hydra to refuse.
    """

    def __init__(self) -> None:
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: list[str]) -> DictConfig:
        parsed = parse(overrides)
        plain = [o for o in parsed if o.type == OverrideType.CHANGE and not _is_choice(str(o.key_or_group))]
        rest = tuple(o.input_line or "" for o in parsed if o not in plain)
        try:
            if rest not in self._composed:
                self._composed[rest] = _compose(list(rest))
            config = copy.deepcopy(self._composed[rest])
            for override in plain:
                OmegaConf.update(config, override.key_or_group, override.value())
        except (ConfigError, OmegaConfBaseException):
            return _compose(overrides)
        return config


def _is_choice(key: str) -> bool:
    """Whether an override chooses a file of conf/, and so other values, or is Hydra's own."""
    return key in GROUPS or "/" in key or "@" in key or key.startswith("hydra")


def _product(overrides: list[str]) -> list[list[str]]:
    combinations: list[list[str]] = [[]]
    for override in parse(overrides):
        if override.is_sweep_override():
            values = [f"{override.get_key_element()}={v}" for v in override.sweep_string_iterator()]
        else:
            values = [override.input_line or ""]
        combinations = [[*done, value] for done in combinations for value in values]
    return combinations


def _no_hydra(overrides: list[str]) -> list[str]:
    """The overrides without hydra's own settings, which only say how a sweep is launched."""
    return [o for o in overrides if not re.match(r"[+~]*hydra[./=]", o)]
