"""Claims about the reference runs: as data they are what their folders were, and beside the user's they never outvote them."""

import csv
import gzip
import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import normbench
from normbench import collect, figures, paths, records, report, tables
from normbench.config import ConfigError
from normbench.study.figures.by_name import FIGURES
from normbench.study.read import collected, origin, reference, reference_files
from normbench.study.report import items

ODD = 0.1 + 0.2  # 0.30000000000000004
NORMS = {"bn": 6.0, "gn": 7.0, "ln": 8.0}


def fill(make_run: Any, root: Path, *, seeds: tuple[int, ...] = (0, 1), **changed: Any) -> None:
    """Three norms at two sizes, the batch-free ones once a seed, with the columns that figures read."""
    for norm, error in NORMS.items():
        for batch in (32, 2) if norm == "bn" else (32,):
            for seed in seeds:
                value = error + 8 / batch + ODD * seed
                folder = make_run(
                    root, norm=norm, batch=batch, seed=seed, error=value, batch_free=norm != "bn", epochs=0
                )
                describe(folder, value)


def describe(folder: Path, error: float) -> None:
    for epoch in range(1, 7):
        row = {"epoch": epoch, "images_seen": 8000 * epoch, "lr": 0.1, "train_error_pct": error / epoch + ODD}
        curves = {"top1_error_pct": error + ODD / epoch, "top1_error_pct_batch": error * 1.1 / epoch}
        records.append_row(folder, row | curves)
    env = {
        "commit": "abc1234", "versions": {"normbench": "0.1.0", "torch": "2.11.0", "python": "3.12.1"},
        "device": "x86_64 CPU", "command": ["python", "-m", "normbench", "norm=bn", "batch=2", "out=/a/disk", "device=cpu"],
    }  # fmt: skip
    records.write_json(folder / "env.json", env)
    result = records.read_json(folder / "result.json")
    records.write_json(folder / "result.json", result | {"epochs": 6})


def probe(make_run: Any, root: Path) -> None:
    for batch in (32, 2):
        folder = make_run(root, batch=batch, probe__layer="last", probe__every=10)
        for step in range(10, 60, 10):
            numbers = {"mean": ODD * step, "var": 1 + step / batch, "grad_mean": 1e-4 / step, "grad_product": None}
            row = {"step": step, "epoch": 1, "images_seen": 64 * step, "percentiles": {"1": -ODD, "99": ODD}}
            records.append_probe(folder, row | numbers)


@pytest.fixture
def data(make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the reference's data, which normbench takes for its own."""
    fill(make_run, tmp_path / "made")
    return take(tmp_path / "made", tmp_path, monkeypatch)


def take(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    collect.main(["--runs", str(runs), "--reference", str(tmp_path / "data")])
    monkeypatch.setattr(paths, "reference", lambda: tmp_path / "data")
    (tmp_path / "none").mkdir(exist_ok=True)
    return tmp_path / "data"


def lines(data: Path) -> list[dict[str, str]]:
    with open(data / "runs.csv", newline="") as f:
        return list(csv.DictReader(f))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---------------------------------------------------------------------------- as data


def test_read_back_runs_epochs_and_probes_are_those_of_their_folders(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "made"
    fill(make_run, runs)
    probe(make_run, runs)
    make_run(runs, norm="gn-groups8", norm__groups=8, eval_also=["batch"], norm__variance="1e5", batch=4, error=ODD)
    make_run(runs, batch=1, error=None, state="diverged")
    take(runs, tmp_path, monkeypatch)
    there, here = collected.read(runs), collected.read(tmp_path / "none", reference=True)
    assert set(here.runs["origin"]) == {"reference"}
    paths_of = dict(zip(there.runs["identity"], there.runs["path"], strict=True))
    for mine, theirs in ((here.runs, there.runs), (here.epochs, there.epochs)):
        read = mine.assign(path=mine["path"].str.removeprefix("reference:").map(paths_of))
        order = ["path", *(["epoch"] if "epoch" in theirs else [])]
        sides = [table.sort_values(order).reset_index(drop=True) for table in (read, theirs)]
        pd.testing.assert_frame_equal(sides[0][theirs.columns], sides[1], check_exact=True)
    probes = {identity: records.read_probes(Path(path)) for identity, path in paths_of.items()}
    assert sum(map(bool, probes.values())) == 2
    assert {identity: reference.probes(f"reference:{identity}") for identity in paths_of} == probes


@pytest.mark.parametrize(("steps", "kept"), [(1, 1), (20, 20), (21, 11), (45, 15), (100, 20)])
def test_of_many_probed_steps_some_stay_evenly_apart_and_the_last(
    steps: int, kept: int, make_run: Any, tmp_path: Path
) -> None:
    folder = make_run(tmp_path, probe__layer="last", probe__every=1)
    for step in range(1, steps + 1):
        records.append_probe(folder, {"step": step})
    found = [row["step"] for row in reference_files.whole(folder).probes]
    assert (len(found), found[-1]) == (kept, steps)
    assert len({after - before for before, after in itertools.pairwise(found)}) <= 1


def test_a_line_says_where_its_numbers_come_from_and_names_no_machine(data: Path) -> None:
    first = lines(data)[0]
    assert (first["norm"], first["batch"], first["seed"], first["state"]) == ("bn", "32", "0", "done")
    assert float(lines(data)[1]["top1_error_pct"]) == 6.0 + 8 / 32 + ODD
    assert [first[name] for name in reference_files.ABOUT] == [
        "abc1234", "0.1.0", "2.11.0", "3.12.1", "x86_64 CPU", "norm=bn batch=2",
    ]  # fmt: skip
    error = 6.25
    expected = sorted(error / epoch + ODD for epoch in range(2, 7))[2]  # of the last five epochs
    assert float(first["train_error_pct"]) == expected
    assert float(first["top1_error_pct_batch"]) == sorted(error * 1.1 / epoch for epoch in range(2, 7))[2]
    assert "/a/disk" not in (data / "runs.csv").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [("a", 0.1 + 0.2), ("a", 3), ("a", 3.0), ("a", True), ("a", "text"), ("a", "1e5"), ("a", '"'), ("a", "null"),
     ("a", "NaN"), ("a", "[0.3, 0.6]"), ("a", 'with, "quotes"\nand lines'), ("identity", "12345678"), ("norm", "none"),
     ("a", None)],
)  # fmt: skip
def test_a_cell_gives_its_value_back(name: str, value: Any) -> None:
    again = reference_files._value(name, reference_files._cell(name, value))
    assert again == value
    assert type(again) is type(value)


def test_the_same_runs_give_the_same_bytes_wherever_they_lie_and_unfinished_ones_are_left_out(
    make_run: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(make_run, tmp_path / "other" / "place", seeds=(1, 0))
    make_run(tmp_path / "other", batch=8, state="cut")
    collect.main(["--runs", str(tmp_path / "other"), "--reference", str(tmp_path / "again")])
    assert bytes_of(tmp_path / "again") == bytes_of(data)
    assert "8 runs; 1 not finished, left out" in capsys.readouterr().out
    assert len(lines(data)) == 8
    packed = (data / "epochs.jsonl.gz").read_bytes()
    assert packed[3:8] == bytes(5)  # neither flags, so no name, nor a time
    collect.main(["--with-reference", "--runs", str(tmp_path / "none"), "--reference", str(tmp_path / "copy")])
    assert bytes_of(tmp_path / "copy") == bytes_of(data)


def test_what_cannot_be_written_leaves_nothing(make_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "data"
    make_run(tmp_path / "runs", state="cut")
    with pytest.raises(ConfigError, match="no run is finished"):
        collect.main(["--runs", str(tmp_path / "runs"), "--reference", str(out)])
    for place in ("one", "two"):
        make_run(tmp_path / "runs" / place)
    with pytest.raises(ConfigError, match="are one run"):
        collect.main(["--runs", str(tmp_path / "runs"), "--reference", str(out)])
    with pytest.raises(ConfigError, match="two commands"):
        collect.main(["--missing", "--runs", str(tmp_path / "runs"), "--reference", str(out)])
    assert not out.exists()


def test_damaged_data_are_one_line(data: Path, tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(ConfigError, match=match):
            collected.read(tmp_path / "none", reference=True)

    whole, packed = (data / "runs.csv").read_text(), (data / "epochs.jsonl.gz").read_bytes()
    (data / "runs.csv").write_text(whole[:-40])
    refused("runs.csv cannot be read")
    (data / "runs.csv").write_text(whole + whole.splitlines(keepends=True)[1])
    refused("one run twice")
    (data / "runs.csv").write_text("".join(whole.splitlines(keepends=True)[:-1]))
    refused("rows of 1 runs that runs.csv beside it has not")
    (data / "runs.csv").write_text(whole)
    (data / "epochs.jsonl.gz").write_bytes(packed[:-30])
    refused("epochs.jsonl.gz cannot be read")
    (data / "epochs.jsonl.gz").write_bytes(gzip.compress(b"[1]\n"))
    refused("epochs.jsonl.gz cannot be read")
    (data / "runs.csv").unlink()
    refused("comes without reference runs")


@pytest.mark.parametrize("name", ["gn_fig5", "wj_fig", "mabn_fig"])
def test_a_figure_of_the_data_has_the_bytes_of_a_figure_of_the_folders(
    name: str, make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "made"
    fill(make_run, runs)
    probe(make_run, runs)
    take(runs, tmp_path, monkeypatch)
    figures.main([name, "--runs", str(runs), "--out", str(tmp_path / "one")])
    figures.main([name, "--with-reference", "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "two")])
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


# ---------------------------------------------------------------------------- beside the user's


def test_load_tells_the_reference_from_ones_own(
    make_run: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs", norm="frn2", epochs=2)
    table = normbench.load(tmp_path / "runs", reference=True)
    assert table.groupby("origin")["path"].nunique().to_dict() == {"reference": 8, "yours": 1}
    assert set(table[table["origin"] == "yours"]["norm"]) == {"frn2"}
    assert "origin" not in normbench.load(tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "none")  # where there is no results/runs
    assert set(normbench.load(reference=True)["origin"]) == {"reference"}
    with pytest.raises(ConfigError, match="no folder"):
        normbench.load("mistyped", reference=True)


def test_of_one_run_that_both_have_the_finished_one_of_the_user_counts(
    make_run: Any, data: Path, tmp_path: Path
) -> None:
    make_run(tmp_path / "runs", seed=0, error=5.0, epochs=2)  # bn at 32, as in the reference
    make_run(tmp_path / "runs", seed=1, state="cut")
    runs = collected.runs(tmp_path / "runs", reference=True)[0]
    cell = runs[(runs["norm"] == "bn") & (runs["batch"] == 32)]
    assert list(zip(cell["seed"], cell["origin"], cell["state"], strict=True)) == [
        (0, "yours", "done"),
        (1, "reference", "done"),
    ]
    assert not runs["identity"].duplicated().any()
    assert origin.in_words(cell) == (
        "1 of the 2 runs is yours, 1 of them in the place of a reference run; the other run is normbench's reference."
    )
    drawing = FIGURES["demo"](runs)
    (mean,) = (c.over_seeds for c in drawing.cells if (c.norm, c.batch) == ("bn", 32))
    assert (mean.n, mean.mean) == (2, pytest.approx((5.0 + 6.25 + ODD) / 2))


def texts(drawing: Any) -> str:
    figure = drawing.figure
    legend = [text.get_text() for box in figure.legends for text in box.get_texts()]
    ticks = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    small_print = figure.get_supxlabel().replace("\n", " ")
    return "\n".join([*legend, *ticks, small_print])


def test_ones_own_norm_is_marked_in_figures_and_tables_and_the_reference_is_not(
    make_run: Any, data: Path, tmp_path: Path
) -> None:
    for batch in (32, 2):
        make_run(tmp_path / "runs", norm="frn2", batch=batch, error=5.5, epochs=2)
    make_run(tmp_path / "runs", norm="ln", seed=7, batch_free=True, epochs=2)
    runs = collected.runs(tmp_path / "runs", reference=True)[0]
    for name in ("demo", "all_norms"):
        shown = texts(FIGURES[name](runs))
        assert "frn2 (yours)" in shown
        assert "LN" in shown
        assert "(partly yours)" in shown
        assert "BN (" not in shown.replace("BN (n", "")
        assert "3 of the 11 runs are yours; the other 8 are normbench's reference." in shown
    text = tables.TABLES["summary"](runs).markdown()
    assert "| frn2 (yours) |" in text
    assert "| BN |" in text
    assert "3 of the 11 runs are yours" in text
    assert "yours" not in texts(FIGURES["demo"](collected.runs(tmp_path / "none", reference=True)[0]))
    assert "yours" not in texts(FIGURES["demo"](collected.runs(tmp_path / "runs")[0]))


def test_a_papers_panel_is_never_marked_as_the_users(make_run: Any, data: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "runs", seed=5, epochs=2)
    drawing = FIGURES["gn_fig5"](collected.runs(tmp_path / "runs", reference=True)[0])
    left, right = ([axes.get_title() for axes in half.axes] for half in drawing.figure.subfigs)
    assert (left, right) == (["BN (partly yours)", "GN"], ["BN", "GN"])


def test_the_users_own_are_never_outvoted_by_unlike_reference_runs(make_run: Any, data: Path, tmp_path: Path) -> None:
    for name, less in {"all_norms": 8, "demo": 8, "gn_fig1": 6}.items():  # LN is not in gn_fig1
        folder = tmp_path / name
        make_run(folder, norm="bn", recipe__epochs=3, error=20.0, epochs=2)
        runs = collected.runs(folder, reference=True)[0]
        drawing = FIGURES[name](runs)
        assert [cell.over_seeds.mean for cell in drawing.cells] == [20.0]
        assert f"left out: {less} reference runs that differ from these in recipe.epochs" in " ".join(drawing.remarks)
        with pytest.raises(ConfigError, match=r"differ in recipe\.epochs \(3, 15\); choose with recipe\.epochs=3"):
            FIGURES[name](runs, strict=True)


def test_a_field_that_an_experiment_sets_does_not_let_the_reference_push_the_users_runs_out(
    make_run: Any, data: Path, tmp_path: Path
) -> None:
    make_run(tmp_path / "runs", eval_also=["precise"], error=20.0, epochs=2)
    drawing = FIGURES["gn_fig1"](collected.runs(tmp_path / "runs", reference=True)[0])
    assert [cell.over_seeds.mean for cell in drawing.cells] == [20.0]


def test_ones_own_variant_is_shown_beside_the_plain_norms_of_the_reference(
    make_run: Any, data: Path, tmp_path: Path
) -> None:
    make_run(tmp_path / "runs", norm="gn-groups8", norm__groups=8, batch_free=True, epochs=2)
    drawing = FIGURES["all_norms"](collected.runs(tmp_path / "runs", reference=True)[0])
    assert {cell.norm for cell in drawing.cells} == {"bn", "gn", "ln", "gn-groups8"}


def test_among_many_norms_the_demo_shows_its_own_and_the_users(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for norm in ("bn", "gn", "ln", "in", "brn", "cbn", "mabn", "frn", "sn", "bcn", "bgn"):
        make_run(tmp_path / "made", norm=norm)
    take(tmp_path / "made", tmp_path, monkeypatch)
    make_run(tmp_path / "runs", norm="frn2")
    drawing = FIGURES["demo"](collected.runs(tmp_path / "runs", reference=True)[0])
    assert {cell.norm for cell in drawing.cells} == {"bn", "gn", "frn2"}
    assert drawing.remarks == ["left out: 9 more norms, which figure all_norms shows"]


# ---------------------------------------------------------------------------- the commands


def test_collect_counts_both_and_says_what_of_ones_own_is_missing(
    make_run: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs", norm="frn2", batch=2, epochs=2)
    more = ["--with-reference", "--runs", str(tmp_path / "runs")]
    capsys.readouterr()
    collect.main([*more, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "at hand: 8 reference runs, and 1 of yours" in printed
    assert "frn2 (yours)" in printed
    assert "bn (yours)" not in printed
    written = pd.read_csv(tmp_path / "collected.csv", low_memory=False)
    assert written.groupby("origin")["identity"].nunique().to_dict() == {"reference": 8, "yours": 1}
    collect.main([*more, "--missing"])
    assert "norm=frn2 batch=32 seed=0,1" in capsys.readouterr().out


def test_the_report_has_reference_runs_with_their_curve_command_and_versions(
    make_run: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "FIGURES", {"gn_fig1": items.FIGURES["gn_fig1"]})
    monkeypatch.setattr(items, "TABLES", {})
    make_run(tmp_path / "runs", norm="frn2", epochs=2)
    out = tmp_path / "report.html"
    report.main(["--with-reference", "--runs", str(tmp_path / "runs"), "--out", str(out)])
    text = out.read_text()
    assert text.count('class="curve"') == 9
    assert text.count("normbench norm=bn batch=2</pre>") == 8
    assert "versions.torch: 2.11.0" in text
    assert "recipe.epochs: 15" in text
    assert text.count('frn2 <span class="soft">(yours)</span>') >= 1
    assert "1 of the 9 runs is yours; the other 8 are normbench" in text
