"""Claims about cbn_gradient: what is drawn is what the records of the runs say."""

import math
from pathlib import Path
from typing import Any

import pytest

from normbench import records
from normbench.study.figures.cbn_gradient import cbn_gradient
from normbench.study.figures.drawing import Drawing
from normbench.study.read import collected, probes

STEPS = (25, 50, 75)


@pytest.fixture
def root(make_run: Any, tmp_path: Path) -> Path:
    def run(label: str, batch: int, seed: int, error: float | None, length: float, **options: Any) -> None:
        state = "diverged" if error is None else "done"
        more = {"probe__layer": "last", "probe__every": 25}
        more |= {f"norm__{key}": value for key, value in options.items()}
        folder = make_run(tmp_path, label, batch, seed, error, state=state, **more)
        for step in STEPS:
            lengths = {"bn1": length * step / 25, "bn2": 4 * length * step / 25}  # geometric mean: 2 length step / 25
            moved = {"moved_square": 0.3, "missed_square": 0.06 * (1 + seed), "apart_square": 0.4}
            line = {"step": step, "epoch": -(-step // 50), "images_seen": 64 * step, "filter_norms": lengths}
            records.append_probe(folder, line | (moved if label.startswith("cbn") and "naive" not in label else {}))

    for batch, worse in ((4, 0.0), (2, 2.0)):
        for seed in (0, 1):
            run("bn", batch, seed, 5.0 + worse + 0.1 * seed, 1.0)
            run("cbn", batch, seed, 6.0 + worse + 0.1 * seed, 3.0 + seed, window=4)
            run("cbn-through_windowTrue", batch, seed, 5.2 + worse + 0.1 * seed, 1.0, window=4, through_window=True)
        run("cbn-window8", batch, 0, 6.5 + worse, 3.0, window=8)
        run("cbn_naive-window8", batch, 0, None if batch == 2 else 7.0, 2.0, window=8)
    return tmp_path


def draw(root: Path) -> Drawing:
    return cbn_gradient(collected.runs(root)[0])


def lines(drawing: Drawing, title: str) -> list[tuple[list[float], list[float]]]:
    axes = next(axes for axes in drawing.figure.axes if axes.get_title() == title)
    return [
        ([round(float(x), 6) for x in line.get_xdata()], [round(float(y), 6) for y in line.get_ydata()])
        for line in axes.lines
    ]


def test_the_errors_stand_over_the_windows_with_bn_as_a_level(root: Path) -> None:
    drawing = draw(root)
    found = lines(drawing, "4 images")
    assert ([4, 8], [6.05, 6.5]) in found
    assert ([0, 1], [5.05, 5.05]) in found  # across the axes
    assert any(y and y[0] == 5.25 and math.isnan(y[1]) for _, y in found)  # a hole stays a hole
    assert ([4, 8], [8.05, 8.5]) in lines(drawing, "2 images")
    assert ([8], [1.0]) in lines(drawing, "2 images")  # the cross of what diverged, on the upper edge
    numbers = drawing.numbers
    assert numbers is not None
    assert list(numbers.loc["8 at 2"]) == ["7.05 ± 0.07 (2)", "8.50 (1)", "missing", "1 diverged"]
    assert numbers.loc["4 at 4", "CBN"] == "6.05 ± 0.07 (2)"


def test_the_lengths_are_geometric_means_over_layers_and_means_over_seeds_of_one_window(root: Path) -> None:
    found = lines(draw(root), "filters")
    epochs = [25 * 2 / 75, 50 * 2 / 75, 2.0]
    epochs = [round(epoch, 6) for epoch in epochs]
    assert (epochs, [2.0, 4.0, 6.0]) in found  # BN, and CBN through the window
    assert (epochs, [7.0, 14.0, 21.0]) in found  # CBN: 6 and 8 times the step
    assert len(found) == 4


def test_the_share_is_one_less_what_is_missed_of_what_moved_squared(root: Path) -> None:
    found = [y for _, y in lines(draw(root), "compensation's share")]
    share = ((1 - 0.2**2) + (1 - 0.4**2)) / 2
    assert [round(share, 6)] * 3 in found
    assert [round(0.3**2 / (0.3**2 + 0.4**2), 6)] * 3 in found


@pytest.mark.parametrize("of", [probes.explained, probes.by_weights, probes.filter_length])
def test_a_line_that_does_not_say_is_no_number(of: Any) -> None:
    assert math.isnan(of({"step": 25}))
    assert math.isnan(of({"moved_square": None, "missed_square": None, "apart_square": None, "filter_norms": None}))


def test_runs_without_probes_have_their_errors_drawn_and_nothing_said_of_a_share(make_run: Any, tmp_path: Path) -> None:
    for window in (2, 4):
        make_run(tmp_path, f"cbn-window{window}", 4, error=6.0 + window, norm__window=window)
    drawing = draw(tmp_path)
    assert ([2, 4], [8.0, 10.0]) in lines(drawing, "4 images")
    assert all(line == ([], []) for line in lines(drawing, "filters"))
    assert drawing.figure._supxlabel is not None
    assert "Share" not in drawing.figure._supxlabel.get_text()
