"""load(expand=True): a batch-free run at every batch that it serves."""

from pathlib import Path

import pytest

import normbench
from normbench import records
from normbench.compose import run_of

SMALL = ["recipe.epochs=2", "data.train_size=256"]


def write(out: Path, *overrides: str, error: float = 5.0) -> None:
    """A finished run of two epochs that was never trained."""
    run = run_of([*SMALL, *overrides, f"out={out}"])
    run.folder.mkdir(parents=True)
    records.write_config(run.folder, run.description())
    for epoch in (1, 2):
        records.append_row(
            run.folder, {"epoch": epoch, "images_seen": 256 * epoch, "top1_error_pct": error + 1 / epoch}
        )
    errors = {"median_last5": error, "final": error}
    records.write_json(
        run.folder / "result.json", {"status": "done", "top1_error_pct": errors, "epochs": 2, "seconds": 1.0}
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for batch in (32, 8, 2):
        write(tmp_path, "norm=bn", f"batch={batch}", "sgd_batch=32", error=float(batch))
    write(tmp_path, "norm=gn", "sgd_batch=32")
    write(tmp_path, "norm=bn", "batch=4", "sgd_batch=64")  # of another SGD batch: no batch of theirs
    return tmp_path


def test_a_batch_free_run_stands_at_the_batches_of_the_others_and_in_their_groups(out: Path) -> None:
    assert ("gn", 2) not in normbench.load(out).groupby(["norm", "batch"]).groups
    table = normbench.load(out, expand=True)
    last = table[(table["epoch"] == 2) & (table["sgd_batch"] == 32)]
    found = last.groupby(["norm", "batch"])["top1_error_pct"].mean().to_dict()
    assert found == {("bn", 2): 2.5, ("bn", 8): 8.5, ("bn", 32): 32.5, ("gn", 2): 5.5, ("gn", 8): 5.5, ("gn", 32): 5.5}


def test_every_row_says_how_many_workers_share_the_sgd_batch_and_copies_are_one_run(out: Path) -> None:
    plain, table = normbench.load(out), normbench.load(out, expand=True)
    assert (table["batch"] * table["workers"] == table["sgd_batch"]).all()
    assert (table.dtypes == plain.dtypes).all()
    own = table[table["norm"] == "gn"]
    assert list(own["batch"]) == [32, 32, 8, 8, 2, 2]
    assert list(own["epoch"]) == [1, 2] * 3
    assert own["path"].nunique() == own["identity"].nunique() == 1
    rest = plain[~plain["batch_free"]].reset_index(drop=True)
    assert table[table["norm"] == "bn"].reset_index(drop=True).equals(rest)


def test_alone_it_stands_at_every_batch_that_divides_its_sgd_batch(tmp_path: Path) -> None:
    write(tmp_path, "norm=gn", "sgd_batch=12", "batch=2")
    table = normbench.load(tmp_path, expand=True)
    assert list(table["batch"].unique()) == [12, 6, 4, 3, 2, 1]
    assert len(table) == 12


def test_without_a_batch_free_run_nothing_changes(tmp_path: Path) -> None:
    write(tmp_path, "norm=bn", "batch=2", "sgd_batch=12")
    assert normbench.load(tmp_path, expand=True).equals(normbench.load(tmp_path))


def test_the_reference_is_expanded_too() -> None:
    table = normbench.load(reference=True, expand=True)
    assert not table["batch"].isna().any()
    assert table["path"].nunique() == normbench.load(reference=True)["path"].nunique()
