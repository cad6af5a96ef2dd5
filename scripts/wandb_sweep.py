"""A W&B sweep file from an experiment, for agents on as many machines as there are:

    python scripts/wandb_sweep.py gn_fig1 data=cifar10 > sweep.yaml
    wandb sweep --project normbench sweep.yaml      prints the id
    wandb agent ID                                  on each machine

Every combination that `python -m normbench -m experiment=gn_fig1 data=cifar10` would train, one run each.
"""

import argparse
import sys

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from normbench import paths
from normbench.config import ConfigError
from normbench.hints import nearest


def sweep(experiment: str, overrides: list[str]) -> dict[str, object]:
    """The sweep as W&B's own keys. What the overrides say themselves is not swept."""
    names = sorted(path.stem for path in (paths.conf() / "experiment").glob("*.yaml"))
    if experiment not in names:
        raise ConfigError(f"{experiment}: no such experiment{nearest(experiment, names)}; one of {', '.join(names)}")
    asked = OmegaConf.select(OmegaConf.load(paths.conf() / "experiment" / f"{experiment}.yaml"), "hydra.sweeper.params")
    said = {text.partition("=")[0] for text in overrides}
    parse = OverridesParser.create().parse_overrides
    grid = {
        override.key_or_group: list(override.sweep_string_iterator())
        if override.is_sweep_override()
        else [override.value()]
        for override in parse([f"{key}={asked[key]}" for key in asked])
    }
    return {
        "method": "grid",
        "metric": {"name": "top1_error_pct_median_last5", "goal": "minimize"},
        "parameters": {key: {"values": values} for key, values in grid.items() if key not in said},
        "command": [
            *("${env}", "python", "-m", "normbench", f"experiment={experiment}", "tracker=wandb"),
            *overrides,
            "${args_no_hyphens}",  # norm=gn batch=2, as Hydra wants it
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="of conf/experiment")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for python -m normbench")
    options = parser.parse_args()
    try:
        print(yaml.safe_dump(sweep(options.experiment, options.overrides), sort_keys=False, width=120), end="")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
