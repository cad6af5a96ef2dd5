"""The papers' numbers: results/published/*.csv, one row a number. No such number stands in code."""

from functools import cache

import pandas as pd

from normbench import paths
from normbench.config import ConfigError

COLUMNS = (
    "paper",  # group_norm_2018
    "item",  # table or figure of the paper
    "norm",  # a norm label of ours where we have it: bn, gn, gn-groups8
    "model",
    "dataset",
    "batch",  # images per worker that a statistic is taken over; empty where the source does not say
    "workers",
    "protocol",  # per_worker, fixed_sgd; empty outside both
    "value",
    "unit",
    "statistic",
    "source",
    "read",
    "note",
)
UNITS = {  # and whether more is better
    "top1_error_pct": False,
    "top5_error_pct": False,
    "top1_accuracy_pct": True,
    "top5_accuracy_pct": True,
    "train_error_pct": False,
    "box_ap": True,
    "box_ap50": True,
    "box_ap75": True,
    "mask_ap": True,
    "mask_ap50": True,
    "mask_ap75": True,
}
STATISTICS = ("median_last5", "mean5", "final", "best", "unknown")
READ = ("printed", "digitised", "recalled")  # recalled: from memory, drawn hollow, never a target

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
}


NAMES = {  # of data sets and networks, as the papers write them
    "imagenet": "ImageNet",
    "cifar10": "CIFAR-10",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "inception_v3": "Inception-v3",
    "mobilenet_v2": "MobileNetV2",
}


@cache
def _everything() -> pd.DataFrame:
    tables = []
    for path in sorted(paths.published().glob("*.csv")):
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
    """One figure's or table's numbers for a network on a data set, largest batch first; empty where it has none."""
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
    """Numbers whose item names an epoch ("Figure 5, before epoch 30"), with that epoch as column "at", in its order."""
    epoch = numbers["item"].str.extract(r"epoch (\d+)$")[0].astype("Int64")
    return numbers.assign(at=epoch)[epoch.notna()].sort_values(["norm", "batch", "at"])


def place(data: str, model: str) -> str:
    """Data and network in words: "ImageNet, ResNet-50", and our own as they are called here."""
    return f"{NAMES.get(data, data)}, {NAMES.get(model, model)}"


def recalled(numbers: pd.DataFrame) -> bool:
    """Whether some of the numbers are from memory: drawn hollow, never a target."""
    return bool((numbers["read"] == "recalled").any())
