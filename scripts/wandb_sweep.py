"""A W&B sweep file from an experiment, for agents on as many machines as there are:

    python scripts/wandb_sweep.py gn_fig1 data=cifar10 > sweep.yaml
    wandb sweep --project normbench sweep.yaml      prints the id
    wandb agent ID                                  on each machine

Agents train what `normbench -m experiment=gn_fig1 data=cifar10` would, run by run.
"""

import argparse
import sys

import yaml

from normbench.config import ConfigError
from normbench.study.read import experiments


def sweep(experiment: str, overrides: list[str]) -> dict[str, object]:
    """The sweep in W&B's own keys, numbers as numbers; what an override sets is not swept.

    Raises ConfigError where there is no such experiment, and where several grids are left of it.
    """
    said = {text.partition("=")[0] for text in overrides}
    grids = [
        {key: values for key, values in product.swept.items() if key not in said}
        for product in experiments.read(experiment).products
    ]
    swept, *others = grids
    if any(other != swept for other in others):
        whole = " ".join(["normbench -m", f"experiment={experiment}", *overrides])
        raise ConfigError(
            f"{experiment} is a union of {len(grids)} grids, and a W&B sweep has one; train it with {whole}"
        )
    return {
        "method": "grid",
        "metric": {"name": "top1_error_pct_median_last5", "goal": "minimize"},
        "parameters": {key: {"values": [_number(text) for text in values]} for key, values in swept.items()},
        "command": [
            *("${env}", "normbench", f"experiment={experiment}", "tracker=wandb"),
            *overrides,
            "${args_no_hyphens}",  # norm=gn batch=2, as Hydra wants it
        ],
    }


def _number(text: str) -> int | float | str:
    """A number as one; anything else as the text that it is."""
    read = yaml.safe_load(text)
    return read if type(read) in (int, float) else text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="of conf/experiment")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for normbench")
    options = parser.parse_args()
    try:
        print(yaml.safe_dump(sweep(options.experiment, options.overrides), sort_keys=False, width=120), end="")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
