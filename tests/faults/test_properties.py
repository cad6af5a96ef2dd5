"""What holds for every input that hypothesis can think of: order, identity, records, collect.

Derandomized: the same examples in every session, so that a failure is the change's and not chance's.
"""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from normbench import records
from normbench.compose import run_of
from normbench.config import FORMAT
from normbench.data import order
from normbench.data.images import Batch, Images
from normbench.runs import Run, science
from normbench.study.read import collected

often = settings(max_examples=200, deadline=None, derandomize=True, database=None)
seldom = settings(often, max_examples=25)
words = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=5), max_size=4).map(tuple)


@pytest.fixture(autouse=True)
def counted(tried: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    tried("examples of properties", request.function._hypothesis_internal_use_settings.max_examples)


# ---------------------------------------------------------------------------- order


@often
@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 5), st.integers(0, 7), st.integers(0, 5))
def test_the_ranks_share_out_each_step_whoever_plays_which_worker(
    ranks: int, local: int, each: int, first: int, count: int
) -> None:
    workers, steps = ranks * local, range(first, first + count)
    size = workers * each
    by_rank = [order.shares(steps, size, rank, ranks) for rank in range(ranks)]
    for at, step in enumerate(steps):
        assert sorted(p for shares in by_rank for p in shares[at]) == list(range(step * size, (step + 1) * size))
    for rank, shares in enumerate(by_rank):
        for share in shares:
            assert [order.worker_of(p, workers) for p in share] == [
                rank + (j % local) * ranks for j in range(len(share))
            ]


@often
@given(words, words)
def test_a_stream_has_the_name_of_all_its_words(one: tuple[int | str, ...], two: tuple[int | str, ...]) -> None:
    assert (order.key(*one) == order.key(*two)) == (one == two)


@often
@given(st.integers(0, 500), words, st.none() | st.integers(0, 600))
def test_an_order_has_each_image_once_and_a_part_of_them_is_the_beginning_of_one(
    count: int, name: tuple[int | str, ...], size: int | None
) -> None:
    assert sorted(order.permutation(count, *name)) == list(range(count))
    kept = order.first_of(count, size).tolist()
    assert kept == sorted(set(kept))
    assert len(kept) == (count if size is None else min(size, count))
    assert size is None or set(kept) <= set(order.first_of(count, size + 1).tolist())


@often
@given(st.data())
def test_a_batch_of_few_labels_has_so_many_each_as_often(data: st.DataObject) -> None:
    per_batch, each = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    batch, workers = per_batch * each, data.draw(st.integers(1, 3))
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=per_batch, max_size=8))
    assume(sum(n >= each for n in sizes) >= per_batch and sum(sizes) >= batch * workers)
    shuffled = order.permutation(sum(sizes), "labels")
    labels = np.repeat(np.arange(len(sizes)), sizes)[shuffled]
    chosen = order.by_labels(labels, batch * workers, batch, per_batch, 0, 1)
    steps = len(labels) // (batch * workers)
    assert len(chosen) == steps * batch * workers
    for step in chosen.reshape(steps, batch * workers):
        for worker in range(workers):
            found = Counter(labels[step[worker::workers]].tolist())
            assert len(found) == per_batch
            assert set(found.values()) == {each}
    # no image twice, unless the labels are too uneven to fill the batches otherwise
    blocks = sum(min(n // each, steps * workers) for n in sizes)
    assert blocks < steps * workers * per_batch or len(set(chosen.tolist())) == len(chosen)


class Numbers(Images):
    """A data set of numbers: what is dealt to whom shows."""

    def __init__(self, count: int) -> None:
        self.test_images = self.train_images = count

    def _train(self, epoch: order.Epoch, chosen: np.ndarray, shares: Sequence[range]) -> Iterator[Batch]:
        for share in shares:
            yield torch.from_numpy(chosen[share.start : share.stop : share.step]), torch.empty(0)

    def _test(self, chunks: Sequence[np.ndarray]) -> Iterator[Batch]:
        for chunk in chunks:
            yield torch.from_numpy(chunk), torch.empty(0)


@often
@given(st.integers(0, 300), st.integers(1, 6), st.integers(1, 40), st.none() | st.integers(1, 10))
def test_each_test_image_is_dealt_once(count: int, ranks: int, batch: int, minibatch: int | None) -> None:
    dealt = [x for rank in range(ranks) for x, _ in Numbers(count).evaluation(rank, ranks, batch, minibatch)]
    assert sorted(torch.cat([torch.empty(0, dtype=torch.int64), *dealt]).tolist()) == list(range(count))


@often
@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 4), st.data())
def test_an_epoch_gone_on_with_is_the_rest_of_the_whole_one(
    count: int, each: int, ranks: int, data: st.DataObject
) -> None:
    numbers = Numbers(count)
    numbers.seed = data.draw(st.integers(0, 2**64 - 1))
    size = each * ranks
    cut = data.draw(st.integers(0, count // size))
    for rank in range(ranks):
        whole, rest = ([x.tolist() for x, _ in numbers.epoch(3, size, rank, ranks, first_step=at)] for at in (0, cut))
        assert whole[cut:] == rest


# ---------------------------------------------------------------------------- identity


@cache
def plain() -> Run:
    return run_of([])


CHANGES = {
    "seed": st.integers(0, 3),
    "batch": st.sampled_from([2, 4, 8]),
    "precision": st.sampled_from(["fp32", "bf16"]),
    "eval_also": st.sampled_from([None, ["precise"], ["precise", "batch"]]),
    "precise_images": st.integers(1, 3),
    # what is hardware
    "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
    "threads": st.none() | st.integers(1, 3),
    "out": st.text(min_size=1, max_size=3),
    "overwrite": st.booleans(),
    "eval_batch": st.integers(1, 3),
    "checkpoint_steps": st.integers(1, 3),
}
changes = st.fixed_dictionaries({}, optional=CHANGES)


@often
@given(changes, changes)
def test_runs_have_one_identity_just_where_their_science_is_one(one: dict[str, Any], two: dict[str, Any]) -> None:
    a, b = replace(plain(), **one), replace(plain(), **two)
    assert (a.identity == b.identity) == (science(a) == science(b))
    hardware = {"device", "threads", "out", "overwrite", "eval_batch", "checkpoint_steps"}
    keys = set(one) | set(two)
    if keys <= hardware:
        assert a.identity == b.identity
    mine, theirs = ({k: getattr(run, k) for k in CHANGES if k not in hardware} for run in (a, b))
    assert (a.identity == b.identity) == (mine == theirs)


TYPED = {"norm": ["bn", "brn", "mabn"], "batch": ["2", "8"], "seed": ["0", "3"], "device": ["cpu", "auto"]}
TYPED |= {"recipe.lr": ["0.2", "2e-1", "0.3"], "norm.eps": ["1e-5", "0.001"], "recipe.nesterov": ["false", "true"]}
SAME = {"1e-1": "0.1", "cpu": "auto"}  # two ways to one run


@seldom
@given(st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in TYPED.items()}), st.randoms())
def test_the_order_typed_and_the_defaults_typed_fork_no_run(typed: dict[str, str], dice: Any) -> None:
    overrides = [f"{key}={value}" for key, value in typed.items()]
    shuffled = dice.sample(overrides, len(overrides))
    spelled = [f"{key}={SAME.get(value, value)}" for key, value in typed.items()]
    said = {**{k: v[0] for k, v in TYPED.items() if k in ("seed", "recipe.lr", "norm.eps")}, **typed}
    written_out = [f"{key}={value}" for key, value in said.items()]
    assert len({run_of(o).identity for o in (overrides, shuffled, spelled, written_out)}) == 1


# ---------------------------------------------------------------------------- records

text = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=12)
texts = text | st.sampled_from(["x 1e-05 y", "[1e5]", "1e-5", ": 2e+7,", "null", "#", "'", "a: b", "1_000", "0o7", "~"])
leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(leaf, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=8)


@often
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), values, max_size=4))
def test_a_config_reads_as_it_was_written_by_us_and_as_yaml(config: dict[str, Any]) -> None:
    config.pop("format", None)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        records.write_config(folder, config)
        assert records.read_config(folder) == {"format": FORMAT, **config}
        assert list(folder.iterdir()) == [folder / "config.yaml"]
        found = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    if not set(config) & {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}:  # YAML's own words
        assert found == {"format": FORMAT, **config}


row = st.fixed_dictionaries({"epoch": st.integers(-1, 5)}, optional={"e": st.floats(), "x": texts})


@often
@given(st.lists(row, max_size=8), st.integers(0, 10_000), st.integers(0, 5))
def test_rows_are_those_that_are_whole_the_later_ones_and_kept_up_to_an_epoch(
    written: list[dict[str, Any]], torn: int, epochs: int
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for one in written:
            records.append_row(folder, one)
        path = folder / "epochs.jsonl"
        whole = path.read_bytes() if written else b""
        path.write_bytes(whole[: torn % (len(whole) + 1)])
        left = [json.loads(line) for line in whole[: torn % (len(whole) + 1)].split(b"\n") if line.endswith(b"}")]
        expected = {one["epoch"]: one for one in left if one["epoch"] >= 1}
        assert records.read_rows(folder) == [expected[epoch] for epoch in sorted(expected)]
        numbers = [one["epoch"] for one in left]
        assert (records.rows_trouble(folder, epochs) is None) == (sorted(numbers) == list(range(1, epochs + 1)))
        records.keep(folder, epochs, 0)
        kept = [expected[epoch] for epoch in sorted(expected) if epoch <= epochs]
        assert records.read_rows(folder) == kept
        before = path.read_bytes()
        records.keep(folder, epochs, 0)
        assert path.read_bytes() == before


NAMES = ["config.yaml", "result.json", "running.json", "error.json", "epochs.jsonl", "probes.jsonl"]
bytes_of = st.binary(max_size=60) | values.map(lambda v: json.dumps(v).encode())
done = b'{"status": "done", "epochs": 1}'


@often
@given(st.dictionaries(st.sampled_from(NAMES), bytes_of | st.just(done), max_size=4))
def test_whatever_lies_there_has_a_state_and_only_a_result_with_its_rows_is_done(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        state = records.state(folder)
        assert state in records.STATES
        if state == "done":
            epochs = json.loads(files["result.json"]).get("epochs", 0)
            assert [one["epoch"] for one in records.read_rows(folder)] == list(range(1, epochs + 1))
        records.error(folder)
        records.read_probes(folder)


# ---------------------------------------------------------------------------- collect

cell = st.tuples(
    st.sampled_from(["bn", "gn"]), st.sampled_from([2, 32]), st.integers(0, 2), st.sampled_from(["done", "cut"]),
    st.integers(1, 3), st.floats(0, 100),
)  # fmt: skip


def place(one: tuple[str, int, int, str, int, float]) -> tuple[Any, ...]:
    """What tells a cell's folder from the others'."""
    return one[0], one[1], one[2], one[4]


@cache
def made(norm: str, batch: int, seed: int, epochs: int) -> Run:
    overrides = [f"norm={norm}", f"batch={batch}", f"seed={seed}", f"recipe.epochs={epochs}"]
    return run_of([*overrides, "protocol=per_worker", "workers=2", "sgd_batch=null"])


def write(root: Path, cells: Sequence[tuple[str, int, int, str, int, float]]) -> None:
    for norm, batch, seed, state, epochs, error in cells:
        run = replace(made(norm, batch, seed, epochs), out=str(root))
        run.folder.mkdir(parents=True)
        records.write_config(run.folder, run.description())
        for epoch in range(1, epochs + 1):
            records.append_row(run.folder, {"epoch": epoch, "top1_error_pct": error})
        if state == "done":
            metric = {"median_last5": error, "final": error}
            result = {"status": state, "top1_error_pct": metric, "epochs": epochs, "images_seen": 0, "seconds": 0.0}
            records.write_json(run.folder / "result.json", result)


@seldom
@given(st.lists(cell, max_size=5, unique_by=place), st.randoms(), st.binary(max_size=9))
def test_collect_has_each_run_once_with_its_state_and_rows_whatever_lies_beside_it(
    cells: list[tuple[str, int, int, str, int, float]], dice: Any, poison: bytes
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        write(Path(one), cells)
        write(Path(two), dice.sample(cells, len(cells)))
        (Path(two) / "a" / "poisoned").mkdir(parents=True)
        (Path(two) / "a" / "poisoned" / "config.yaml").write_bytes(poison)
        first, second = collected.read(one), collected.read(two)
        assert not first.problems
        assert [problem.path for problem in second.problems] == [str(Path(two) / "a" / "poisoned")]
        columns = ["norm", "batch", "seed", "state", "recipe.epochs"]
        tables = [table.runs.reindex(columns=columns) for table in (first, second)]  # no run has no such field
        found = [sorted(map(tuple, table.itertuples(index=False))) for table in tables]
        assert found[0] == found[1] == sorted((norm, batch, seed, state, n) for norm, batch, seed, state, n, _ in cells)
        assert len(first.epochs) == len(second.epochs) == sum(n for *_, n, _ in cells)
        errors = first.epochs["top1_error_pct"].tolist() if cells else []
        wanted = sorted(e for *_, n, e in cells for _ in range(n))
        assert all(math.isclose(a, b, abs_tol=0) for a, b in zip(sorted(errors), wanted, strict=True))
        batches = first.runs["batch"].tolist()
        for norm in ("bn", "gn"):  # largest batch first, as the papers print it
            mine = [b for b, n in zip(batches, first.runs["norm"], strict=True) if n == norm]
            assert all(a >= b for a, b in pairwise(mine))
