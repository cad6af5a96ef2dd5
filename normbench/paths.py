"""Where conf/, the published numbers and the reference runs are: in the package or the checkout."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent


def _packaged_or_checkout(packaged: str, checkout: str) -> Path:
    inside = PACKAGE / packaged
    return inside if inside.is_dir() else CHECKOUT / checkout


def conf() -> Path:
    """The Hydra configuration folder, absolute."""
    return _packaged_or_checkout("conf", "conf")


def published() -> Path:
    """The folder of CSV files with the papers' numbers, absolute."""
    return _packaged_or_checkout("published", "results/published")


def reference() -> Path:
    """The folder of the reference runs' records, absolute."""
    return _packaged_or_checkout("reference", "results/reference")
