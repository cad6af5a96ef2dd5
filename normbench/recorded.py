"""From a run folder back to the Run that it holds.

compose.py goes the other way round, from what was typed. No torch.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normbench import records
from normbench.config import Config, ConfigError
from normbench.hints import first_line
from normbench.runs import ModelChoice, NormChoice, Run, Watched


def config_in(folder: Path) -> dict[str, Any]:
    """config.yaml as it was written; raises ConfigError where there is none of ours."""
    try:
        return records.read_config(folder)
    except FileNotFoundError:
        raise ConfigError(f"{folder} has no config.yaml, so it is no run") from None
    except ValueError as e:
        raise ConfigError(f"{folder}: {e}") from None


def run_in(folder: Path) -> Run:
    """The run as it was settled when it began: its values stand in config.yaml.

    So no yaml of conf/ and no file of the data set is read again, and a run comes back on a machine
    without its images. Raises ConfigError for a config.yaml that this version cannot read, and for
    one whose settings are not those of the identity that it names.
    """
    config = config_in(folder)
    try:
        run = settled(config)
        identity = run.identity
    except (OmegaConfBaseException, KeyError, TypeError, ValueError, AttributeError) as e:
        raise ConfigError(f"{folder}: config.yaml does not say what this version needs: {first_line(e)}") from None
    if identity != config.get("identity"):
        raise ConfigError(
            f"{folder}: config.yaml says identity {config.get('identity')}, and its settings are those of {identity}; "
            "it was changed, or written by a version of other settings"
        )
    return run


def settled(config: dict[str, Any]) -> Run:
    """The run that Run.description describes."""
    typed = {f.name: config[f.name] for f in fields(Config) if f.name in config}
    settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), typed))
    assert isinstance(settings, Config)
    model, probe = settings.model, settings.probe
    norm = dict(settings.norm)
    name, batch_free = norm.pop("name"), norm.pop("batch_free")
    parts: dict[str, Any] = {f.name: getattr(settings, f.name) for f in fields(Run)}
    parts |= {
        "model": ModelChoice(model.name, model.options, config["model_label"], model.gn_min_channels),
        "norm": NormChoice(name, batch_free, norm, config["label"]),
        "protocol": settings.protocol.name,
        "probe": None if probe.layer is None else Watched(probe.layer, config["probe"]["every"]),
    }
    return Run(**parts)
