"""norm=frozen: batch normalization as a fixed affine layer."""

from torch import Tensor

from normbench.norms.base import Site
from normbench.norms.running import RunningNorm
from normbench.norms.sync_batch import over_workers
from normbench.parallel import dist


class FrozenBatchNorm(RunningNorm):
    """Batch normalization as a fixed affine layer (He et al. 2016; Wu & Johnson 2021, sec. 3.4).

        y = gamma_c (x - running_mean) / sqrt(running_var + eps) + beta_c

    Training and evaluation: the same statistics, which no step changes: those of a checkpoint, or
    measured once over training images before training, while each layer normalizes by the
    statistics of the SGD batch.

    Shapes: y (N, C, ...) in and out
        weight, bias, running_mean, running_var: (C,)
    """

    name = "frozen"
    over = "nothing: fixed statistics"
    paper = "Wu & Johnson 2021"
    batch_free = True

    def __init__(
        self, site: Site, *, eps: float = 1e-5, checkpoint: str | None = None, train_affine: bool = True
    ) -> None:
        super().__init__(site, eps=eps, momentum=0.0)
        self.needs_measuring = checkpoint is None
        for parameter in self.parameters():
            parameter.requires_grad_(train_affine)

    def normalize(self, y: Tensor, groups: int, update: bool) -> Tensor:
        if not self.measuring:
            return self.evaluate(y)
        return over_workers(self, y, self.workers * dist.world_size(), update)
