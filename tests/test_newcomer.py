"""A researcher's first day, in order, in an empty folder, with the package as its wheel has it.

Own photographs, an own network in a package of its own, AdamW, a sweep that is killed and goes on, a
comparison, a figure for a paper, and the network back out of its folder to answer an image.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import wheel
from offered import ROOT, install
from PIL import Image

from normbench import records

CHOSEN = ["data=folder", "data.root=pictures", "data.name=pets", "data.image_size=16", "model=plainnet", "sgd_batch=8"]
CHOSEN += [
    "recipe.optimizer=adamw",
    "recipe.lr=0.01",
    "recipe.momentum=0.9",
    "recipe.epochs=3",
    "data.loader_processes=0",
]
SWEEP = ["-m", *CHOSEN, "norm=gn,bn", "batch=2", "seed=0,1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with pictures; beside it what pip installed: normbench, and plainnet of docs/adding.md."""
    base = tmp_path_factory.mktemp("newcomer")
    wheel.unpacked(base / "site")
    text = (ROOT / "docs" / "adding.md").read_text()
    files = dict(re.findall(r"```\w+\n# (plainnet/(?:__init__\.py|plainnet\.yaml))\n(.*?)```", text, re.DOTALL))
    install(base / "site", files, {"plainnet": "plainnet:PlainNet"}, "plainnet", "normbench.models")
    random = np.random.default_rng(0)
    for half, count in (("train", 24), ("val", 6)):
        for label, (name, level) in enumerate((("cats", 90), ("dogs", 160))):
            folder = base / "home" / "pictures" / half / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.normal(level, 20, (20, 24 + label, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return base / "home"


def started(home: Path, *arguments: str, code: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", *(["-c", code] if code else ["-m", "normbench"]), *arguments]
    env = {**os.environ, "PYTHONPATH": str(home.parent / "site"), "COLUMNS": "120"}
    return subprocess.Popen(command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(home: Path, *arguments: str, code: str = "") -> str:
    process = started(home, *arguments, code=code)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_the_first_day(home: Path) -> None:
    where = done(home, code="import normbench; print(normbench.__file__)")
    assert Path(where.strip()).is_relative_to(home.parent / "site")  # the wheel, not this tree

    # ------------------------------------------------------------ a sweep of four, killed and continued
    planned = done(home, *SWEEP, "--dry")
    assert "cells: 4, 4 missing" in planned
    process = started(home, *SWEEP)
    runs = home / "results" / "runs" / "pets" / "plainnet"
    while not any(len(records.read_rows(path.parent)) for path in runs.rglob("epochs.jsonl")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(runs.rglob("result.json"))) < 4
    assert done(home, *SWEEP).splitlines()[-1] == "4 done"
    assert len(list(runs.rglob("result.json"))) == 4
    (recorded, *_) = runs.rglob("config.yaml")
    assert records.read_config(recorded.parent)["recipe"]["optimizer"] == "adamw"
    assert "all 4 cells are finished" in done(home, *SWEEP)

    # ------------------------------------------------------------ what came of it
    compared = done(home, "tables", "compare", "norm=gn,bn", "batch=2")
    assert (home / "results" / "tables" / "compare.md").is_file()
    assert "2 seeds in common, and fewer than 3 decide nothing" in compared
    done(home, "figures", "gn_fig1", "--format", "pdf", "--width", "6.75")
    (figure,) = (home / "results" / "figures").iterdir()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", figure.read_bytes())
    assert figure.suffix == ".pdf"
    assert box and float(box[1]) == pytest.approx(6.75 * 72, abs=0.01)
    folder = str(next((runs / "gn").rglob("result.json")).parent)
    assert "state       done, 3 of 3 epochs" in done(home, "show", folder)

    # ------------------------------------------------------------ the network answers an image
    answer = done(
        home,
        folder,
        code="import sys, torch, normbench\n"
        "run = normbench.open_run(sys.argv[1])\n"
        "with torch.no_grad(): logits = run.model()(run.preprocess('pictures/val/dogs/0.png'))\n"
        "wrong = (run.predictions()['predicted'] != run.predictions()['label']).mean()\n"
        "print(run.classes[logits.argmax()], logits.shape[1], 100 * wrong == run.result['top1_error_pct']['final'])",
    )
    assert re.fullmatch(r"(cats|dogs) 2 True\n", answer)
