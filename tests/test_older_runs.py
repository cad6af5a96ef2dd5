"""Runs begun by an older version: this one continues them to the same numbers, bit for bit.

older/<norm>/runs/ holds a run as version 0.1.0 (the training of commit 4878ce1, given the second
edition of the digits: those of the first are other experiments) left it when it was killed at step 8
of 12 in epoch 2 of 3, with a checkpoint of step 5. By then CBN's window is full, and Batch Renorm's
bounds are open and still opening. older/<norm>/ended.json holds the rows and the final weights of the
same run, not killed. A test that fails here says that the runs on people's disks would be lost, or
end as other runs than they began: mend the code, not the data.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import tensors
from torch import Tensor

import normbench
from normbench import records

OLDER = Path(__file__).parent / "older"
# The recipe of then, where its command says nothing and that of now is another.
RECIPE = ["recipe.schedule=step", "recipe.decay=0.1"]
NAMES = ("identity", "label", "model_label", "batch_free", "lr")
WITHIN = 1e-9  # in float64, on a processor that adds in another order than the one that made older/


@dataclass(frozen=True)
class Run:
    """One run of older/: where it was cut and continued, and where it was trained anew."""

    stored: Path  # in older/
    cut: Path
    resumed: Path
    anew: Path

    def names(self) -> dict[str, Any]:
        return _names(next(self.stored.rglob("config.yaml")).parent)

    def ended(self) -> dict[str, Any]:
        """What the older version ended with: {"rows": ..., "weights": ...}."""
        return records.read_json(self.stored / "ended.json")

    def exact(self) -> bool:
        """Whether this machine computes bit for bit as the one that made older/ does."""
        return _rows(self.anew)[0] == self.ended()["rows"][0]


@pytest.fixture(scope="module", params=["bn", "brn", "cbn"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The cut run continued, and the whole run in one go, both by the command in its env.json."""
    out = tmp_path_factory.mktemp(request.param)
    stored = OLDER / request.param
    shutil.copytree(stored / "runs", out / "cut")
    (checkpoint,) = (out / "cut").rglob("checkpoint.pt")
    command = records.read_json(checkpoint.with_name("env.json"))["command"]
    # what follows normbench
    overrides = [*(word for word in command[3:] if not word.startswith("out=")), *RECIPE]
    resumed = normbench.run([*overrides, f"out={out / 'cut'}"])
    anew = normbench.run([*overrides, f"out={out / 'anew'}"])
    return Run(stored, checkpoint.parent, resumed.path, anew.path)


def test_it_keeps_its_identity_labels_and_folder(run: Run) -> None:
    assert _names(run.anew) == run.names()
    assert run.resumed == run.cut
    assert run.anew.parts[-5:] == run.cut.parts[-5:]
    assert run.cut.name.endswith(run.names()["identity"])


def test_it_goes_on_from_where_it_was_cut(run: Run) -> None:
    before, after = (records.read_rows(f) for f in (next(run.stored.rglob("epochs.jsonl")).parent, run.resumed))
    assert after[: len(before)] == before  # to the second: this epoch was not trained again
    assert [row["epoch"] for row in after] == [1, 2, 3]
    assert records.state(run.resumed) == "done"


def test_it_ends_with_the_rows_and_weights_of_the_uncut_run(run: Run) -> None:
    ended, within = run.ended(), 0.0 if run.exact() else WITHIN
    for folder in (run.resumed, run.anew):
        assert _rows(folder) == [pytest.approx(row, rel=within, abs=within) for row in ended["rows"]]
        model = _checkpoint(folder)["model"]
        for name, values in ended["weights"].items():
            assert _apart(model[name], torch.tensor(values, dtype=model[name].dtype)) <= within, name


def test_it_ends_with_every_state_of_the_run_trained_anew(run: Run) -> None:
    """The norms' own past, momenta and random numbers too."""
    resumed, anew = (dict(tensors(_checkpoint(f))) for f in (run.resumed, run.anew))
    assert list(resumed) == list(anew)
    for name, tensor in resumed.items():
        assert _apart(tensor, anew[name]) <= (0.0 if run.exact() else WITHIN), name


# ------------------------------------------------------------------ reading


def _names(folder: Path) -> dict[str, Any]:
    config = records.read_config(folder)
    return {key: config[key] for key in NAMES}


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in records.read_rows(folder)]


def _checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def _apart(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
