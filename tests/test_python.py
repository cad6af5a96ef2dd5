"""The Python door: a sweep as a table, and how it goes where it is watched."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

import normbench
from normbench import bars, records, watch
from normbench.cells import Cell
from normbench.compose import run_of
from normbench.config import ConfigError
from normbench.following import Following

NORMS = ["norm=bn,gn", "batch=8,4"]


def test_a_sweep_is_a_row_a_cell_with_its_run_s_result(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    asked = [text for text in tiny if not text.startswith("batch=")]
    table = normbench.sweep([*asked, "recipe.epochs=1", *NORMS])
    assert capsys.readouterr().out == ""
    assert list(table["norm"]) == ["bn", "bn", "gn", "gn"]
    assert list(table["batch"]) == list(table["workers"][::-1]) == [8, 4, 8, 4]
    assert table["path"].nunique() == 3  # gn is trained once
    assert set(table["state"]) == {"done"}
    for _, row in table.iterrows():
        error = records.read_json(normbench.open_run(row["path"]).folder / "result.json")["top1_error_pct"]
        assert (row["top1_error_pct"], row["top1_error_pct.final"]) == (error["median_last5"], error["final"])
    assert len(table.groupby(["norm", "batch"])) == 4
    before = {path: path.stat().st_mtime_ns for path in normbench.open_run(table["path"][0]).folder.iterdir()}
    again = normbench.sweep([*asked, "recipe.epochs=1", *NORMS], verbose=True)
    pd.testing.assert_frame_equal(again, table)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    said = capsys.readouterr().out.splitlines()
    assert (said[0], said[-1]) == ("all 4 cells are finished; overwrite=true trains them anew", "3 done")


def test_the_launcher_is_the_one_that_is_named(tiny: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    asked = [text for text in tiny if not text.startswith("batch=")]
    table = normbench.sweep([*asked, "recipe.epochs=1", "batch=8,4", "device=cpu", "hydra/launcher=joblib"])
    assert set(table["state"]) == {"done"}
    assert capfd.readouterr().out == ""
    assert {normbench.open_run(path).environment["threads"] for path in table["path"]} == {1}


def test_a_failing_cell_is_a_row_and_stops_no_other(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    table = normbench.sweep([*tiny, "recipe.epochs=1", "norm=gn", "norm.groups=5,4"])
    assert dict(zip(table["norm.groups"], table["state"], strict=True)) == {5: "failed", 4: "done"}
    assert table["top1_error_pct"].isna().tolist() == (table["state"] == "failed").tolist()
    assert "norm.groups=5 does not divide" in capsys.readouterr().err


def test_what_cannot_be_is_refused_before_anything_starts(tiny: list[str]) -> None:
    with pytest.raises(ConfigError, match="did you mean gn"):
        normbench.sweep([*tiny, "norm=bn,gx"])
    assert not (run_of(tiny).folder.parents[4]).exists()


@pytest.mark.parametrize("verbose", [False, True])
def test_a_run_says_how_it_goes_where_that_is_asked_for(
    verbose: bool, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = normbench.run([*tiny, "recipe.epochs=2"], verbose=verbose)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("epoch ")[1][:3] for line in lines[1:-1]] == ["1/2", "2/2"] * verbose
    assert [line.rpartition(", ")[2] for line in lines[-1:]] == [str(result.path)] * verbose


# ---------------------------------------------------------------------------- in a notebook


class Place:
    """In the place of IPython's handle on an output: what was shown there, as text."""

    def __init__(self) -> None:
        self.contents: list[str] = []

    def display(self, content: Any, display_id: bool) -> "Place":
        assert display_id
        self.update(content)
        return self

    def update(self, content: Any, raw: bool = False) -> None:
        console = Console(width=100, color_system=None)
        with console.capture() as found:
            console.print(content)
        self.contents.append(content["text/plain"] if raw else found.get())


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A notebook, of which IPython is all that is there: no ipywidgets."""
    place, module = Place(), ModuleType("IPython.display")
    module.display = place.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(bars, "in_notebook", lambda: True)
    yield place


def test_a_run_has_a_bar_that_is_gone_when_it_is_done(
    notebook: Place, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("normbench.progress.SHOW_SECONDS", 0)
    normbench.run([*tiny, "recipe.epochs=2"], verbose=True)
    assert len(notebook.contents) == 2 * 8 + 1  # a step each, and the end
    assert "digits bn b8 s0" in notebook.contents[0] and "epoch 2/2" in notebook.contents[-2]
    assert notebook.contents[-1] == ""
    assert "epoch 1/2" not in capsys.readouterr().out


def test_a_sweep_has_one_bar_over_all_of_its_runs(notebook: Place, tiny: list[str]) -> None:
    cell = Cell(tiny, run_of(tiny), 1, "")
    shown = watch.for_engine("basic", Following([cell], before=2), alone=True)
    assert shown is not None
    with shown:
        cell.run.folder.mkdir(parents=True)
        records.write_json(cell.run.folder / "error.json", {"error": "x"})
    assert "2/3 runs" in notebook.contents[0]
    assert notebook.contents[-1] == ""


def test_nobody_gets_a_notebook_s_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not bars.in_notebook()
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert bars.in_notebook()
    monkeypatch.setenv("NORMBENCH_PLAIN", "1")
    assert not bars.in_notebook()
