"""A W&B sweep file from an experiment, for agents on as many machines as there are:

    python scripts/wandb_sweep.py gn_fig1 data=cifar10 > sweep.yaml
    wandb sweep --project normbench sweep.yaml      prints the id
    wandb agent ID                                  on each machine

Agents train what `python -m normbench -m experiment=gn_fig1 data=cifar10` would, run by run.
"""

import argparse
import sys

import yaml

from normbench.config import ConfigError
from normbench.study.read import experiments


def sweep(experiment: str, overrides: list[str]) -> dict[str, object]:
    """The sweep in W&B's own keys, its values as text; what an override sets is not swept.

    Raises ConfigError where there is no such experiment.
    """
    swept = experiments.read(experiment).swept
    said = {text.partition("=")[0] for text in overrides}
    return {
        "method": "grid",
        "metric": {"name": "top1_error_pct_median_last5", "goal": "minimize"},
        "parameters": {key: {"values": values} for key, values in swept.items() if key not in said},
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
