"""Batch-free runs at every batch that they serve, for those who group a table by batch."""

import pandas as pd

ALIKE = ["data", "model", "protocol", "sgd_batch"]  # between runs whose batches are compared


def at_every_batch(table: pd.DataFrame) -> pd.DataFrame:
    """A table of runs or of epochs in which no run lacks `batch` and `workers`.

    The rows of a batch-free run are there once for each batch that it serves: of those that the
    table has of other norms on the same data, network, protocol and SGD batch, the ones that divide
    this; where there are none, all that divide it. Copies share `path`: they are one run, no seed
    more. workers = sgd_batch / batch.
    """
    free = table["batch_free"].astype(bool)
    pieces = [table[~free]]
    for key, own in table[free].groupby(ALIKE, sort=False):
        sgd_batch = int(own["sgd_batch"].iloc[0])
        like = (table[~free][ALIKE] == pd.Series(key, index=ALIKE)).all(axis=1)
        divisors = [size for size in range(1, sgd_batch + 1) if sgd_batch % size == 0]
        there = set(table[~free].loc[like, "batch"])
        for batch in [size for size in divisors if size in there] or divisors:
            pieces.append(own.assign(batch=batch, workers=sgd_batch // batch))
    found = pd.concat(pieces).astype({"batch": table["batch"].dtype, "workers": table["workers"].dtype})
    order = [name for name in ("data", "model", "norm", "protocol", "batch", "seed", "path", "epoch") if name in table]
    keys = found[order].reset_index(drop=True).assign(batch=-found["batch"].to_numpy())
    return found.take(keys.sort_values(order, kind="stable").index.to_numpy()).reset_index(drop=True)
