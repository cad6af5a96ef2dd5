"""The papers' numbers: results/published/*.csv, one row per number. None of them stands in code.

What the papers claim of such numbers is another table, CLAIMS, which study/claims reads.
"""

from functools import cache

import pandas as pd

from normbench import paths
from normbench.config import ConfigError

CLAIMS = "claims.csv"
COLUMNS = (
    "paper",  # group_norm_2018
    "item",  # table or figure of the paper
    "norm",  # a norm label of ours where we have it: bn, gn, gn-groups8
    "model",
    "dataset",
    "batch",  # images per worker, which a statistic is taken over; empty where not said
    "workers",
    "protocol",  # per_worker, fixed_sgd; empty outside both
    "value",
    "unit",  # top1_error_pct, top1_accuracy_pct, box_ap, ...
    "statistic",  # median_last5, mean5, final, best, unknown
    "source",
    "read",  # printed, digitised; recalled: from memory, drawn hollow, never a target
    "note",
)

CITATIONS = {
    "group_norm_2018": "Wu & He 2018",
    "group_norm_reproduction": "Wu, reproduction",
    "batch_renorm_2017": "Ioffe 2017",
    "mabn_2020": "Yan et al. 2020",
    "evonorm_2020": "Liu et al. 2020",
    "frn_2019": "Singh & Krishnan 2019",
    "frn_reproduction": "Wu, re-test of FRN",
    "ws_2019": "Qiao et al. 2019",
    "switchable_norm_2019": "Luo et al. 2019",
    "wu_johnson_2021": "Wu & Johnson 2021",
    "cross_iteration_bn_2021": "Yao et al. 2021",
    "batch_group_norm_2020": "Zhou et al. 2020",
    "evalnorm_2019": "Singh & Shrivastava 2019",
    "megdet_2018": "Peng et al. 2018",
}


@cache
def _everything() -> pd.DataFrame:
    tables = []
    for path in sorted(path for path in paths.published().glob("*.csv") if path.name != CLAIMS):
        # norm "none" is a norm, not a missing value
        table = pd.read_csv(path, keep_default_na=False, na_values={"batch": [""], "workers": [""]})
        if tuple(table.columns) != COLUMNS:
            raise ConfigError(f"{path}: its columns should be {','.join(COLUMNS)}")
        tables.append(table.astype({"batch": "Int64", "workers": "Int64", "value": "float64"}))
    if not tables:
        raise ConfigError(f"no published numbers in {paths.published()}; the folder comes with normbench")
    return pd.concat(tables, ignore_index=True)


def load() -> pd.DataFrame:
    """Every published number, one row each."""
    return _everything().copy()


def curve(paper: str, item: str, dataset: str, model: str) -> pd.DataFrame:
    """A figure's or table's numbers of a network on a data set, largest batch first."""
    table = load()
    keys = {"paper": paper, "item": item, "dataset": dataset, "model": model}
    for column, wanted in keys.items():
        table = table[table[column] == wanted]
    return table.sort_values(["norm", "batch"], ascending=[True, False])


def as_errors(numbers: pd.DataFrame) -> pd.DataFrame:
    """Top-1 accuracies as errors, 100 - accuracy; what is an error already stays."""
    accuracy = numbers["unit"] == "top1_accuracy_pct"
    errors = numbers.assign(value=numbers["value"].where(~accuracy, (100 - numbers["value"]).round(4)))
    return errors.assign(unit=numbers["unit"].where(~accuracy, "top1_error_pct"))


def at_epochs(numbers: pd.DataFrame) -> pd.DataFrame:
    """Numbers whose item ends in an epoch ("Figure 5, before epoch 30"), with it as column "at"."""
    epoch = numbers["item"].str.extract(r"epoch (\d+)$")[0].astype("Int64")
    return numbers.assign(at=epoch)[epoch.notna()].sort_values(["norm", "batch", "at"])


def known(numbers: pd.DataFrame, recalled: bool) -> tuple[pd.DataFrame, list[str]]:
    """The numbers that were read, and where asked those recalled from memory; a remark on what is
    left out.
    """
    if recalled or not (numbers["read"] == "recalled").any():
        return numbers, []
    kept = numbers[numbers["read"] != "recalled"]
    whose = " and ".join(CITATIONS[paper] for paper in numbers["paper"].unique())
    return kept, [
        f"left out: {len(numbers) - len(kept)} numbers of {whose} recalled from memory; --recalled draws them"
    ]


def recalled(numbers: pd.DataFrame) -> bool:
    """Whether some of the numbers are from memory: drawn hollow, never a target."""
    return bool((numbers["read"] == "recalled").any())
