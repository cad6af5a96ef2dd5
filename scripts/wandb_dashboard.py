"""The dashboard of a W&B project: error against batch, learning curves, cost, and our own figures.

    python scripts/wandb_dashboard.py --entity ME      saves it on the server and prints its address
        --figures results/figures                      and uploads those PNGs to be shown in it
    python scripts/wandb_dashboard.py --dry            prints its specification, without a server

Needs wandb-workspaces: pip install 'normbench[wandb]'. Runs get there with `normbench
tracker=wandb ...`. They are grouped by cell, so that a line, a bar or a point is one norm at one
batch, averaged over its seeds and nothing else.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from normbench.hints import first_line

ERROR = "top1_error_pct_median_last5"  # the metric of record, in the summary of a finished run
FIGURES_RUN = "figures"  # the W&B run that holds the uploaded figures


def workspace(entity: str, project: str) -> Any:
    """The dashboard as an object of wandb-workspaces; saved by its save()."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as ws

    norm, batch, error = panels.Config("label"), panels.Config("batch"), panels.SummaryMetric(ERROR)

    def curve(field: str, title: str, x: str = "epoch", log: bool = False) -> Any:
        return panels.LinePlot(
            title=title, x=x, y=[field], log_y=log, title_x=x.replace("_", " "), max_runs_to_show=100
        )

    def bars(field: str, title: str) -> Any:
        return panels.BarPlot(title=title, metrics=[panels.SummaryMetric(field)], max_bars_to_show=100)

    against_batch = [
        panels.ScatterPlot(title="error (%) against images per worker", x=batch, y=error, log_x=True, log_y=True),
        panels.ParallelCoordinatesPlot(
            title="norm, batch, error",
            columns=[
                panels.ParallelCoordinatesPlotColumn(metric=norm, display_name="norm"),
                panels.ParallelCoordinatesPlotColumn(metric=batch, display_name="images per worker", log=True),
                panels.ParallelCoordinatesPlotColumn(metric=error, display_name="error (%)", log=True),
            ],
        ),
        bars(ERROR, "error (%) of each cell"),
        panels.MediaBrowser(title="figures of normbench", media_keys=["figures"]),
    ]
    curves = [
        curve("top1_error_pct", "validation error (%)", log=True),
        curve("train_error_pct", "training error (%)", log=True),
        curve("top1_error_pct", "validation error (%) against images seen", x="images_seen", log=True),
        curve("train_loss", "training loss"),
        curve("lr", "learning rate", log=True),
    ]
    cost = [
        panels.ScatterPlot(title="error (%) against speed", x=panels.SummaryMetric("images_per_second"), y=error),
        bars("images_per_second", "images per second, evaluation included"),
        bars("seconds", "seconds of a run"),
        curve("top1_error_pct", "validation error (%) against seconds", x="seconds", log=True),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="normbench",
        sections=[
            ws.Section(name="Error against batch", panels=against_batch, is_open=True),
            ws.Section(name="Learning curves", panels=curves, is_open=True),
            ws.Section(name="Cost", panels=cost, is_open=True),
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Metric("Group")],
            order=[ws.Ordering(ws.Metric("Group"), ascending=True)],
            pinned_columns=[f"summary:{ERROR}", "summary:status", "config:batch.value", "config:seed.value"],
        ),
    )


def specification(made: Any) -> dict[str, Any]:
    """What would be sent to the server."""
    spec: dict[str, Any] = json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return spec


def upload(figures: list[Path], entity: str | None, project: str) -> None:
    """The figures as images of one W&B run, replaced each time."""
    import wandb

    settings = wandb.Settings(console="off", disable_git=True)
    with wandb.init(
        entity=entity, project=project, id=FIGURES_RUN, name=FIGURES_RUN, job_type="study", settings=settings
    ) as run:
        run.log({"figures": [wandb.Image(str(path), caption=path.stem) for path in figures]})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="user or team (WANDB_ENTITY)")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "normbench"), help="(%(default)s)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="upload the PNGs of normbench figures")
    parser.add_argument("--dry", action="store_true", help="print the specification and send nothing")
    options = parser.parse_args()
    try:
        made = workspace(options.entity or "entity", options.project)
    except ImportError:
        print("error: wandb-workspaces is not installed; pip install 'normbench[wandb]'", file=sys.stderr)
        return 1
    if options.dry:
        print(json.dumps(specification(made), indent=1, sort_keys=True))
        return 0
    if not options.entity:
        print("error: whose dashboard? --entity NAME, your user or team on W&B", file=sys.stderr)
        return 1
    figures = sorted(options.figures.glob("*.png")) if options.figures else []
    if options.figures and not figures:
        print(f"error: no PNG in {options.figures}; draw some with normbench figures", file=sys.stderr)
        return 1
    import requests
    import wandb

    try:
        if figures:
            upload(figures, options.entity, options.project)
        made.save()
    except wandb.errors.UsageError as e:
        print(f"error: W&B has no key for {options.entity}: {first_line(e)}", file=sys.stderr)
        return 1
    except (wandb.errors.Error, requests.RequestException, OSError, ValueError) as e:
        print(f"error: W&B did not take it: {first_line(e)}", file=sys.stderr)
        return 1
    print(made.url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
