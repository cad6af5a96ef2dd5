"""The papers' tables, ours beside theirs. A difference is taken where data and network are the paper's, never to a
number from memory."""

import math
from collections.abc import Sequence

import pandas as pd

from normbench.study import beside, comparison, experiments, published, stats, style
from normbench.study.selection import plain, refuse_unlike, setting_free
from normbench.study.stats import Summary
from normbench.study.table import Table

Theirs = dict[str, tuple[float, bool]]  # by norm label: the value, and whether it is recalled
NOTHING = stats.summarise([])


def gn_table1(runs: pd.DataFrame) -> Table:
    """Wu & He 2018, Table 1: BN, LN, IN and GN at 32 images per worker."""
    return _by_norm(runs, "gn_table1", "gn_fig4", "group_norm_2018", "Table 1", "resnet50")


def cbn_table(runs: pd.DataFrame) -> Table:
    """Yao et al. 2021: IN, LN, GN, BN and CBN at 32 images per worker."""
    return _by_norm(
        runs, "cbn_table", "cbn_table", "cross_iteration_bn_2021", "feature normalization table", "resnet18"
    )


def _by_norm(runs: pd.DataFrame, name: str, experiment: str, paper: str, item: str, network: str) -> Table:
    own, remarks = _own(runs, experiment)
    norms = experiments.read(experiment).norms
    published_rows = _curves(own, runs, paper, item, network, experiment)
    theirs, (where, same) = _by_label(published_rows), _where(published_rows, own)
    ours = {norm: stats.mean_over_seeds(own[own["norm"] == norm]) for norm in norms}
    looks = style.looks(norms)
    rows = []
    for norm in norms:
        row = {"norm": looks[norm].name, **_beside(ours[norm], theirs.get(norm), same)}
        row["ours - BN"] = ours[norm].mean - ours["bn"].mean
        row["published - BN"] = theirs.get(norm, (math.nan, False))[0] - theirs.get("bn", (math.nan, False))[0]
        rows.append(row)
    words = (
        f"Top-1 error (%) at {experiments.read(experiment).fixed['batch']} images per worker{_ours_on(own)}; {where}. "
    )
    caption = words + comparison.caption("mean")
    return _table(name, rows, "norm", caption, experiment, own, published_rows, remarks)


def gn_table2(runs: pd.DataFrame) -> Table:
    """Wu & He 2018, Table 2: BN and GN over the images per worker, and their difference seed by seed."""
    own, remarks = _own(runs, "gn_fig1")
    theirs = _curves(own, runs, "group_norm_2018", "Table 2", "resnet50", "gn_fig1")
    where, same = _where(theirs, own)
    grid = experiments.grid("gn_fig1", own)
    cells = {(cell.norm, cell.batch): cell.over_seeds for cell in stats.against_batch(own)}
    rows = []
    for batch in grid.batches:
        row: dict[str, object] = {"images per worker": batch}
        for norm in ("bn", "gn"):
            ours = cells.get((norm, batch), cells.get((norm, None), NOTHING))
            value = theirs[(theirs["norm"] == norm) & (theirs["batch"] == batch)]["value"]
            of_paper = (float(value.iloc[0]), False) if len(value) else None
            beside = _beside(ours, of_paper, same)
            row |= {f"{norm.upper()} {key}": cell for key, cell in beside.items()}
        pair = comparison.paired(own, "gn", "bn", batch)
        row |= {"GN - BN": pair.mean, "GN - BN low": pair.low, "GN - BN high": pair.high}
        row["published GN - BN"] = _number(row["GN published"]) - _number(row["BN published"])
        rows.append(row)
    caption = f"Top-1 error (%){_ours_on(own)}; {where}. " + comparison.caption("mean", "paired")
    return _table("gn_table2", rows, "images per worker", caption, "gn_fig1", own, theirs, remarks)


def gn_table3(runs: pd.DataFrame) -> Table:
    """Wu & He 2018, Table 3: GN by its number of groups, and by its channels per group."""
    own, remarks = _own(runs, "gn_table3")
    rows: list[dict[str, object]] = []
    for part, key, item in (
        ("gn_table3", "groups", "Table 3, groups"),
        ("gn_table3_channels", "channels_per_group", "Table 3, channels per group"),
    ):
        theirs = _curves(own, runs, "group_norm_2018", item, "resnet50", "gn_table3")
        where, same = _where(theirs, own)
        field = f"norm.{key}"
        mine = own[own[field].map(plain).str.isdigit()] if field in own else own[:0]
        at = {label.removeprefix(f"gn-{key}"): cell for label, cell in _by_label(theirs).items()}
        measured_at = [int(value) for value in mine[field]] if len(mine) else []
        wanted = [int(value) for value in [*experiments.read(part).swept[field], *(at if same else [])]]
        values = sorted({*wanted, *map(int, at), *measured_at}, reverse=True)
        block = []
        for value in values:
            ours = stats.mean_over_seeds(mine[mine[field].astype(int) == value]) if len(mine) else NOTHING
            row = {"GN with": _so_many(value, key), **_beside(ours, at.get(str(value)), same)}
            block.append({**row, "asked": value in wanted})  # another network may have no such number of groups
        measured = [_number(row["ours"]) for row in block if row["n"]]
        for row in block:
            row["ours - best"] = _number(row["ours"]) - min(measured, default=math.nan)
            row["published - best"] = _number(row["published"]) - min(value for value, _ in at.values())
        rows += block
    words = f"Top-1 error (%) of GN at 32 images per worker{_ours_on(own)}; {where}. "
    caption = words + "Best: the least of its half of the table. " + comparison.caption("mean")
    return _table("gn_table3", rows, "GN with", caption, "gn_table3", own, theirs, remarks)


# ---------------------------------------------------------------------------- parts


def _own(runs: pd.DataFrame, experiment: str) -> tuple[pd.DataFrame, list[str]]:
    own, remarks = experiments.belonging(runs, experiment)
    refuse_unlike(own, "a table", (*setting_free(own), "norm"))
    return own, remarks


def _curves(
    own: pd.DataFrame, runs: pd.DataFrame, paper: str, item: str, network: str, experiment: str
) -> pd.DataFrame:
    """A paper's numbers for our network and data where it has them, else for its own network on ImageNet."""
    if own.empty and len(runs) and "imagenet" not in set(runs["data"]):
        raise experiments.none_yet(experiment)
    data, model = own[["data", "model"]].iloc[0] if len(own) else ("imagenet", network)
    found = published.curve(paper, item, data, model)
    return published.as_errors(found if len(found) else published.curve(paper, item, "imagenet", network))


def _where(theirs: pd.DataFrame, own: pd.DataFrame) -> tuple[str, bool]:
    """What the published numbers are of, and whether ours are of the same data and network."""
    paper, data, model = theirs[["paper", "dataset", "model"]].iloc[0]
    same = len(own) > 0 and (own[["data", "model"]].iloc[0] == [data, model]).all()
    told = f"published: {published.CITATIONS[paper]}, {published.place(data, model)}, {beside.protocol(theirs)}"
    if published.recalled(theirs):
        return f"{told}, † recalled from memory and no target", False
    return told if same or own.empty else f"{told}; they are of unlike settings, so no difference is taken", bool(same)


def _by_label(theirs: pd.DataFrame) -> Theirs:
    values = zip(theirs["norm"], theirs["value"], theirs["read"] == "recalled", strict=True)
    return {norm: (float(value), bool(recalled)) for norm, value, recalled in values}


def _ours_on(own: pd.DataFrame) -> str:
    return f"; ours: {published.place(*own[['data', 'model']].iloc[0])}, {beside.protocol(own)}" if len(own) else ""


def _beside(ours: Summary, theirs: tuple[float, bool] | None, same: bool) -> dict[str, object]:
    value, recalled = theirs or (math.nan, False)
    difference = ours.mean - value if same and not recalled else math.nan
    numbers = {"ours": ours.mean, "sd": ours.sd, "n": ours.n, "published": value}
    return {**numbers, "recalled": recalled, "difference": difference}


def _so_many(value: int, key: str) -> str:
    """16 groups, 1 channel per group."""
    words = key.replace("_", " ")
    return f"{value} {words if value != 1 else words.replace('groups', 'group').replace('channels', 'channel')}"


def _number(value: object) -> float:
    return float(str(value))


def _table(
    name: str,
    rows: Sequence[dict[str, object]],
    index: str,
    caption: str,
    experiment: str,
    own: pd.DataFrame,
    theirs: pd.DataFrame,
    remarks: list[str],
) -> Table:
    """The numbers with what both sides are of in every row; as text, in the heads of the columns."""
    text = pd.DataFrame([_text(row, index) for row in rows]).set_index(index)
    never = [head for head in map(str, text) if head.endswith("difference") and not text[head].any()]
    text = text.drop(columns=never).rename(columns={"GN - BN": "ours GN - BN"})
    numbers = pd.DataFrame(rows).drop(columns="asked", errors="ignore")
    dataset, network = theirs[["dataset", "model"]].iloc[0]
    if len(own):
        data, model = own[["data", "model"]].iloc[0]
        numbers = numbers.assign(**{"our data": data, "our model": model})
        if data != dataset:
            on = {"ours": data, "published": published.NAMES[dataset]}
            text.columns = pd.Index([f"{h}, {on[h.split()[-1]]}" if h.split()[-1] in on else h for h in text.columns])
    numbers = numbers.assign(**{"published data": dataset, "published model": network})
    return Table(name, text, numbers, caption, experiment, experiments.missing(own, experiment), remarks)


def _text(row: dict[str, object], index: str) -> dict[str, str]:
    """One row as printed: mean, sd and n in one cell, a difference with its sign, nothing where there is nothing."""
    shown = {index: str(row[index])}
    for key, value in row.items():
        lead = key.rpartition(" ")[0] + " " if " " in key else ""
        told = key.endswith((" sd", " n", " recalled", " low", " high")) or key in ("sd", "n", "recalled", "asked")
        if key == index or told:
            continue
        if key.endswith("ours"):
            n, sd = int(_number(row[f"{lead}n"])), _number(row[f"{lead}sd"])
            absent = "missing" if row.get("asked", True) else ""
            shown[key] = stats.mean_sd(Summary(n, _number(value), sd, math.nan, math.nan)) or absent
        elif key.endswith("published"):
            dagger = " †" if row[f"{lead}recalled"] else ""
            shown[key] = "" if math.isnan(_number(value)) else f"{_number(value):.2f}{dagger}"
        else:
            dagger = " †" if key.startswith("published") and row.get("recalled") else ""
            shown[key] = _signed(_number(value), row.get(f"{key} low"), row.get(f"{key} high")) + dagger
    return shown


def _signed(value: float, low: object = None, high: object = None) -> str:
    if math.isnan(value):
        return ""
    interval = low is not None and not math.isnan(_number(low))
    return f"{value:+.2f}" + (f" [{_number(low):+.2f}, {_number(high):+.2f}]" if interval else "")
