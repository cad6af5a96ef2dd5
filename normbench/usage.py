"""`python -m normbench --help`.

Hydra would load every option of every group for it, and take seconds. No torch.
"""

from omegaconf import OmegaConf

from normbench import plugins
from normbench.compose import composed
from normbench.config import GROUPS

TEXT = """\
How does the error of a network depend on the number of images each worker normalizes over?

  python -m normbench norm=gn batch=2                      one run
  python -m normbench -m norm=bn,gn batch=2,4,8 seed=0,1   a sweep; rerun it and it continues
  python -m normbench -m norm=bn,gn batch=2,4,8 --dry      its cells, states and device-hours, without running it
  python -m normbench -m norm=bn,gn hydra/launcher=joblib  as many at a time as GPUs or cores; ray, slurm: on a cluster
  python -m normbench data=cifar10 data.download=true      the network, recipe and protocol that belong to CIFAR-10
  python -m normbench.norms                                the norms, with their options and papers
  python -m normbench.collect                              what is on disk, cell by cell
  python -m normbench.show 3f2a                            one run: its curve, its errors by class, what continues it
  python -m normbench.figures gn_fig1                      error against batch, the published curve beneath
  python -m normbench --cfg job norm=gn                    the whole configuration, without running it
  python -m normbench --hydra-help                         Hydra's own flags

Groups, chosen as group=option:

{groups}

Keys, set as key=value:

{keys}"""


def text(overrides: list[str]) -> str:
    """The help, with the keys and values that these overrides lead to.

    Raises ConfigError for a wrong one.
    """
    groups = "\n".join(f"  {group}: {', '.join(plugins.names(group))}" for group in GROUPS)
    return TEXT.format(groups=groups, keys=OmegaConf.to_yaml(composed(overrides)))
