"""The setting that runs or a paper's numbers are of, in words: data, network and protocol."""

import pandas as pd

NAMES = {  # of data sets and networks, as the papers write them
    "imagenet": "ImageNet",
    "cifar10": "CIFAR-10",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "inception_v3": "Inception-v3",
    "mobilenet_v2": "MobileNetV2",
}


def filters(own: pd.DataFrame) -> list[str]:
    """The data and the network of runs that have one of each, as filters; none where no run is."""
    return [f"{key}={own[key].iloc[0]}" for key in ("data", "model")] if len(own) else []


def place(data: str, model: str) -> str:
    """Data and network: "ImageNet, ResNet-50", and our own as they are called here."""
    return f"{NAMES.get(data, data)}, {NAMES.get(model, model)}"


def protocol(table: pd.DataFrame) -> str:
    """What stays the same while the batch varies."""
    sizes = table["sgd_batch"] if "sgd_batch" in table else table["batch"] * table["workers"]
    if sizes.dropna().nunique() == 1:
        return f"SGD batch of {sizes.dropna().iloc[0]}"
    counts = table["workers"].dropna().unique()
    if set(table["protocol"]) == {"per_worker"} and len(counts) == 1:
        return f"{counts[0]} workers, so the SGD batch shrinks with the batch"
    return "protocols differ"
