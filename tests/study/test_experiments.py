"""Claims about experiments: every figure has its own, every one composes, and a figure takes the runs that it asks for."""

from pathlib import Path
from typing import Any

import pytest

from normbench import plugins
from normbench.config import ConfigError
from normbench.study.figures.by_name import FIGURES
from normbench.study.figures.looks import looks_of
from normbench.study.read import collected, experiments
from normbench.study.read.belonging import belonging
from normbench.study.read.missing import in_short, missing
from normbench.study.tables.by_name import TABLES

OF_TABLES = {"cbn_table", "gn_table3", "claims"}


def test_every_figure_has_an_experiment_and_every_experiment_a_figure_or_a_table() -> None:
    assert {*FIGURES} | OF_TABLES == set(experiments.names())
    assert set(TABLES) == {"gn_table1", "gn_table2", "gn_table3", "cbn_table", "summary", "claims"}


@pytest.mark.parametrize("name", experiments.names())
def test_an_experiment_composes_on_the_embedded_digits_and_opens_with_its_command(name: str) -> None:
    from normbench import paths
    from normbench.compose import runs_of

    text = (paths.conf() / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert text[0] == "# @package _global_"
    assert text[1].startswith(f"# normbench -m experiment={name}")
    swept = experiments.read(name).swept
    few = [f"{key}={values[0]},{values[-1]}" for key, values in swept.items() if len(values) > 2 and key != "norm"]
    assert runs_of([f"experiment={name}", "data=digits", *few])


def test_the_experiment_of_all_norms_has_them_all() -> None:
    assert sorted(experiments.read("all_norms").norms) == plugins.builtin()


def test_every_norm_has_a_look_of_its_own() -> None:
    looks = looks_of(plugins.builtin())
    assert len({(look.color, look.marker, look.line) for look in looks.values()}) == len(looks)
    assert len({look.name for look in looks.values()}) == len(looks)


def test_the_norms_of_a_figure_without_lines_are_told_by_their_markers_alone_as_print_shows_no_colour() -> None:
    looks = looks_of(experiments.read("cost").norms).values()
    assert len({look.marker for look in looks}) == len(looks)


@pytest.mark.parametrize("name", ["cost", "cbn_fig1", "evonorm_fig", "mabn_errors", "gn_fig4"])
def test_the_norms_of_one_figure_differ_in_colour_or_in_marker_and_line(name: str) -> None:
    looks = list(looks_of(experiments.read(name).norms).values())
    for place, one in enumerate(looks):
        for other in looks[place + 1 :]:
            assert one.color != other.color or (one.marker != other.marker and one.line != other.line)


def test_runs_with_options_that_an_experiment_does_not_ask_for_are_left_out_and_said(
    make_run: Any, tmp_path: Path
) -> None:
    for batch in (32, 2):
        make_run(tmp_path, batch=batch)
        make_run(tmp_path, batch=batch, eval_also=["batch"], seed=1)
    runs, _ = collected.runs(tmp_path)
    own, remarks = belonging(runs, "gn_fig1")
    assert list(own["seed"]) == [0, 0]
    assert remarks == ["left out: 2 runs that differ from these in eval_also; choose with 'eval_also=[\"batch\"]' (2)"]
    asked, _ = belonging(runs, "wj_fig")
    assert list(asked["seed"]) == [1, 1]


def test_a_figure_takes_its_norm_and_the_options_it_sweeps(make_run: Any, tmp_path: Path) -> None:
    for label in ("cbn", "cbn-window8", "cbn-rho0.5", "cbn_naive", "bn", "gn"):
        make_run(tmp_path, norm=label, batch=4)
    own, _ = belonging(collected.runs(tmp_path)[0], "cbn_window")
    assert sorted(own["norm"]) == ["bn", "cbn", "cbn-window8", "cbn_naive"]


def test_missing_cells_are_counted_by_what_is_swept(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path, norm="cbn", batch=4, norm__window=4)
    make_run(tmp_path, norm="cbn-window8", batch=4, norm__window=8, state="cut")
    lacking = missing(collected.runs(tmp_path)[0], "cbn_window")
    assert "cbn window=4" not in lacking
    assert "cbn window=8 (1 unfinished)" in lacking
    assert {"cbn_naive window=4", "bn at 64"} <= set(lacking)
    assert experiments.commands("cbn_window", ["data=digits"]) == ["normbench -m experiment=cbn_window data=digits"]


def test_a_further_size_joins_the_grid_where_every_norm_has_all_its_seeds(make_run: Any, tmp_path: Path) -> None:
    for batch in (32, 1, 64):
        for seed in (0, 1):
            make_run(tmp_path, batch=batch, seed=seed, state="done" if (batch, seed) != (64, 1) else "cut")
    make_run(tmp_path, norm="gn", batch_free=True)
    grid = experiments.grid("gn_fig1", collected.runs(tmp_path)[0])
    assert (grid.batches, grid.seeds) == ([32, 16, 8, 4, 2, 1], [0, 1])


def test_cells_of_one_norm_that_lack_the_same_are_said_together() -> None:
    lacking = ["bn at 32", "bn at 4 (1 of 3 seeds)", "gn (1 of 3 seeds)", "bn at 16", "bn at 2 (1 of 3 seeds)"]
    assert in_short(lacking) == ["bn at 32/16", "bn at 4/2 (1 of 3 seeds)", "gn (1 of 3 seeds)"]


def test_an_unknown_experiment_is_one_line_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"gn_fig: no such experiment \(did you mean gn_fig"):
        experiments.read("gn_fig")
