"""An experiment that is a union of grids: its cells by hand, what the command line replaces, what is no grid."""

from pathlib import Path

import pytest

from normbench import grids, paths
from normbench.compose import planned, run_of
from normbench.config import ConfigError
from normbench.study.read import experiments

UNION = """\
# @package _global_
precise_images: 64
hydra:
  sweeper:
    params: {seed: "0,1"}
    grids:
      - {norm: "bn,gn", batch: "32,2"}
      - {norm: bn, batch: 2, recipe.freeze_from: 0.8, eval_also: [precise, batch]}
      - {norm: gn, norm.groups: "2,4", batch: 2}
"""


@pytest.fixture
def union(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An experiment of three grids: its name."""
    conf = tmp_path / "conf"
    conf.mkdir()
    for path in paths.conf().iterdir():
        if path.name != "experiment":
            (conf / path.name).symlink_to(path)
    (conf / "experiment").mkdir()
    (conf / "experiment" / "union.yaml").write_text(UNION)
    monkeypatch.setattr(paths, "conf", lambda: conf)
    return "experiment=union"


def cells(*overrides: str) -> list[str]:
    """Each cell as norm, batch, seed and what else it sets."""
    found = []
    for _, run in planned(list(overrides)):
        frozen = f" freeze {run.recipe.freeze_from}" if run.recipe.freeze_from else ""
        also = f" also {','.join(run.eval_also)}" if run.eval_also else ""
        assert run.precise_images == 64
        found.append(f"{run.norm.label} b{run.batch} s{run.seed}{frozen}{also}")
    return found


def test_the_cells_are_the_union_of_the_products(union: str) -> None:
    assert sorted(cells(union)) == sorted(
        f"{cell.format(seed)}"
        for seed in (0, 1)
        for cell in (
            *("bn b32 s{}", "bn b2 s{}", "gn b32 s{}", "gn b2 s{}"),
            *("bn b2 s{} freeze 0.8 also precise,batch", "gn-groups2 b2 s{}", "gn-groups4 b2 s{}"),
        )
    )


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        # a key of params
        (["seed=7", "norm=bn"], ["bn b32 s7", "bn b2 s7", "bn b2 s7 freeze 0.8 also precise,batch"]),
        # a key that each grid has: the third grid's groups are no option of bn, and so it is the first's bn b2 again
        (["norm=bn", "batch=2", "seed=0"], ["bn b2 s0", "bn b2 s0 freeze 0.8 also precise,batch"]),
        # a key that one grid has is set in all; grids that become equal are one
        (
            ["recipe.freeze_from=0.5", "norm=bn", "batch=2", "seed=0", "eval_also=null"],
            ["bn b2 s0 freeze 0.5"],
        ),
        # an option belongs to the grid that has it
        (
            ["norm.groups=8", "seed=0", "batch=2"],
            ["bn b2 s0", "gn b2 s0", "bn b2 s0 freeze 0.8 also precise,batch", "gn-groups8 b2 s0"],
        ),
        # but with its norm named to every one
        (
            ["norm=gn", "norm.groups=8", "seed=0", "batch=2", "recipe.freeze_from=null"],
            ["gn-groups8 b2 s0", "gn-groups8 b2 s0 also precise,batch"],
        ),
    ],
)
def test_a_key_of_the_command_line_replaces_that_of_every_grid(union: str, typed: list[str], wanted: list[str]) -> None:
    assert sorted(cells(union, *typed)) == sorted(wanted)


def test_an_option_that_a_named_norm_does_not_have_is_still_refused(union: str) -> None:
    with pytest.raises(ConfigError, match=r"norm\.groups: no such option"):
        planned([union, "norm=bn,gn", "norm.groups=4"])


def test_each_cell_is_made_by_its_own_command(union: str) -> None:
    for typed, run in planned([union, "seed=0"]):
        assert run_of(typed).folder == run.folder


def test_a_run_of_an_experiment_is_one_of_its_cells_or_is_refused_with_what_to_type(union: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^experiment=union is a sweep of 14 cells; add -m, or choose one of them, e\.g\. seed=0 norm=bn batch=32$",
    ):
        run_of([union])
    with pytest.raises(ConfigError, match="is a sweep of 3 cells; add -m"):
        run_of([union, "norm=bn", "seed=0"])
    assert run_of([union, "norm=brn", "batch=4", "seed=3"]).recipe.freeze_from is None
    # what is left of the union is one cell, with the values that it alone has
    alone = run_of([union, "seed=0", "batch=2", "norm=bn", "recipe.freeze_from=0.5", "eval_also=[batch]"])
    assert (alone.recipe.freeze_from, alone.eval_also) == (0.5, ["batch"])


def test_the_study_reads_the_same_union(union: str) -> None:
    read = experiments.read("union")
    assert [product.norms for product in read.products] == [["bn", "gn"], ["bn"], ["gn"]]
    assert read.products[1].fixed == {
        "precise_images": "64", "batch": "2", "recipe.freeze_from": "0.8", "eval_also": "[precise,batch]",
    }  # fmt: skip
    assert read.swept["batch"] == ["32", "2"]
    assert (read.norms, read.seeds) == (["bn", "gn"], [0, 1])
    assert read.fixed == {"precise_images": "64"}
    assert read.sweeping("norm.groups").swept["norm.groups"] == ["2", "4"]


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("bn,gn", ["bn", "gn"]),
        ("null, 0.8", ["null", "0.8"]),
        ("[precise,batch],null", ["[precise,batch]", "null"]),
        ("'a,b',\"c,d\",e", ["'a,b'", '"c,d"', "e"]),
    ],
)
def test_a_comma_within_a_value_does_not_end_it(typed: str, wanted: list[str]) -> None:
    assert grids.values(typed) == wanted


@pytest.mark.parametrize(
    ("sweeper", "said"),
    [
        ({"params": "seed=0"}, "hydra.sweeper.params: a grid is key: values"),
        ({"grids": []}, "hydra.sweeper.grids is a list of one grid or more"),
        ({"grids": {"norm": "bn"}}, "hydra.sweeper.grids is a list of one grid or more"),
        ({"grids": ["norm=bn"]}, "hydra.sweeper.grids: a grid is key: values"),
        ({"grids": [{"recipe": {"lr": 1}}]}, "hydra.sweeper.grids: a grid is key: values"),
    ],
)
def test_what_is_no_grid_is_refused(sweeper: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        grids.union(sweeper)


def test_a_grid_s_own_value_goes_before_the_shared_one_and_nothing_is_one_grid_of_nothing() -> None:
    shared = {"params": {"seed": "0,1", "norm": "bn"}, "grids": [{"seed": 3}, {"overwrite": True, "batch": None}]}
    assert grids.union(shared) == [
        {"seed": "3", "norm": "bn"},
        {"seed": "0,1", "norm": "bn", "overwrite": "true", "batch": "null"},
    ]
    assert grids.union({}) == [{}]
