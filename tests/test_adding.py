"""What installed packages offer: the examples of docs/adding.md, taken from its text, and what goes wrong is one line."""

import json
import re
import sys
from pathlib import Path

import pytest
from offered import ROOT, code, complaint, install, python

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from normbench import plugins, records

TEXT = (ROOT / "docs" / "adding.md").read_text()
TINY = ["norm=gn", "batch=8", "recipe.epochs=2", "device=cpu", "out=runs"]
EXAMPLES = {"plainnet": "normbench.models", "stripes": "normbench.data", "lines": "normbench.trackers"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where the three packages of the page are installed."""
    for name, group in EXAMPLES.items():
        files = dict(re.findall(rf"```\w+\n# ({name}/\S+)\n(.*?)```", TEXT, re.DOTALL))
        assert set(files) == {f"{name}/__init__.py", f"{name}/{name}.yaml", f"{name}/pyproject.toml"}
        project = tomllib.loads(files.pop(f"{name}/pyproject.toml"))["project"]
        install(tmp_path, files, project["entry-points"][group], project["name"], group)
    return tmp_path


def test_the_page_names_every_kind_of_entry_point() -> None:
    assert all(f"| `{group}` |" in TEXT for group in plugins.GROUPS.values())


def test_a_network_a_data_set_and_a_tracker_of_packages_train_together(site: Path) -> None:
    chosen = ["model=plainnet", "model.options.width=8", "data=stripes", "data.options.noise=1", "tracker=lines"]
    sizes = ["data.train_size=128", "data.test_size=32"]
    done = python(site, "-m", "normbench", *TINY, *chosen, "data.augment=crop_flip", *sizes)
    assert done.returncode == 0, done.stderr
    (result,) = (site / "runs" / "stripes" / "plainnet-width8" / "gn").rglob("result.json")
    rows = [json.loads(line) for line in (result.parent / "epochs.jsonl").read_text().splitlines()]
    assert [row["images_seen"] for row in rows] == [128, 256]
    assert (site / "lines.txt").read_text().splitlines() == [
        *(f"gn seed 0: epoch {row['epoch']}, {row['top1_error_pct']:.2f} %" for row in rows),
        "gn seed 0: done",
    ]
    layers = json.loads((result.parent / "env.json").read_text())["norm_layers"]
    assert len(layers) == 3  # every BatchNorm of it was replaced
    assert "groups" in str(layers)
    recorded = records.read_config(result.parent)["data"]
    assert recorded["options"] == {"noise": 1.0}
    assert "facts" not in recorded


def test_they_are_planned_listed_and_checked_without_being_imported(site: Path) -> None:
    shown = code(
        site,
        "import sys\n"
        "from normbench import cli, usage\n"
        "from normbench.compose import run_of, runs_of\n"
        "from normbench.config import ConfigError\n"
        "runs = runs_of(['data=stripes,digits', 'model=plainnet', 'tracker=none,lines'])\n"
        "print([run.data.name for run in runs], len({run.identity for run in runs}))\n"
        "print(run_of(['data=stripes']).model.label, run_of(['data=stripes']).sgd_batch)\n"
        "cli._dispatch(['data=stripes', 'model=plainnet', 'batch=8', '--dry'])\n"
        "for word in ('plainnet', 'stripes', 'lines'): assert word in usage.text([])\n"
        "wrong = ['data=stripe', 'model=plainet', 'tracker=line', 'data=stripes data.options.nose=1',\n"
        "         'data=stripes data.options.noise=x', 'data=stripes +data.options.x=1', 'data=stripes data.root=x',\n"
        "         'tracker=lines tracker.options.fil=x', 'tracker=lines tracker.options.file=1',\n"
        "         'data.options.noise=1', '+data.options.noise=1', 'data=stripes data.name=mine']\n"
        "for line in wrong:\n"
        "    try: run_of(line.split())\n"
        "    except ConfigError as e: print(e)\n"
        "    else: print('accepted', line)\n"
        "assert not {'plainnet', 'stripes', 'lines', 'torch'} & set(sys.modules)\n",
    ).splitlines()
    assert shown[0] == "['stripes', 'stripes', 'digits', 'digits'] 2"  # a tracker does not fork a run
    assert shown[1] == "cifar_resnet8 32"
    assert any(line.startswith("steps: 160 left of 160") for line in shown)  # 20 epochs x 256 / 32
    for line, said in zip(
        shown[-12:],
        [
            "data=stripe: no such data (did you mean stripes?); one of cifar10, ",
            "model=plainet: no such model (did you mean plainnet?); one of ",
            "tracker=line: no such tracker (did you mean lines?); one of lines, none, tensorboard, wandb",
            "data.options.nose: no such option (did you mean data.options.noise?); this data has data.options.noise",
            "data.options.noise='x' should be a float, like the 0.1 of data=stripes",
            "data.options.x: no such option of data=stripes; it has noise",
            "data.root=x does not apply to data=stripes",
            "tracker.options.fil: no such option (did you mean tracker.options.file?)",
            "tracker.options.file=1 should be a str, like the 'lines.txt' of tracker=lines",
            "data.options.noise: no such option; data=digits has none, leave it out",
            "data.options.noise: no such option of data=digits; it has none, leave it out",
            "data.name=mine: the name goes with the rest of its file; type data=NAME",
        ],
        strict=True,
    ):
        assert line.startswith(said), line


# ---------------------------------------------------------------------------- what goes wrong


def test_what_is_missing_or_unsound_is_one_line_and_only_for_whoever_chooses_it(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/other.yaml": "name: another\n",
        "pkg/odd.yaml": "name: odd\nwidth: 3\n",
        "pkg/list.yaml": "name: list\noptions: [1]\n",
        "pkg/digits.yaml": "name: digits\n",
        "pkg/empty.yaml": "name: empty\nnum_classes: 2\n",
        "pkg/alone.yaml": (
            "defaults: [override /model@_global_.model: cifar_resnet8, override /recipe@_global_.recipe: digits]\n"
            "name: alone\nnum_classes: 2\ntrain_images: 8\n"
            "facts: {image_shape: [1, 8, 8], train_images: 8, test_images: 8}\n"
        ),
    }
    install(tmp_path, files, dict.fromkeys(["other", "odd", "list", "lost"], "pkg:A"), "one", "normbench.models")
    install(tmp_path, {}, dict.fromkeys(["digits", "empty", "alone"], "pkg:load"), "two", "normbench.data")
    install(tmp_path, {}, {"lost": "away:T"}, "three", "normbench.trackers")
    for typed, said in {
        "model=other": "other.yaml must say name: other",
        "model=odd": "odd.yaml says width, which no model has; a model's own go under options",
        "model=list": "list.yaml: options are key: default, got [1]",
        "model=lost": "model=lost: pkg:A of one needs the file lost.yaml beside it",
        "data=digits": "data=digits is claimed by pkg:load of two and by normbench itself; uninstall or rename",
        "data=empty": "empty.yaml must say under facts what the data set is",
        "data=alone": "data=alone does not say which sgd_batch goes with it; choose protocol=fixed_sgd sgd_batch=N",
        "tracker=lost": "tracker=lost: away:T of three needs the file lost.yaml beside it",
    }.items():
        assert said in complaint(tmp_path, typed), typed
    code(tmp_path, "from normbench.compose import run_of; run_of(['data=cifar10', 'model=resnet18'], files=False)")


BUILD = """
from normbench import data, models
from normbench.compose import run_of
from normbench.config import ConfigError
import torch
def of_data(name): data.build(run_of([f"data={name}"]).data, seed=0, device=torch.device("cpu"), dtype=torch.float32)
def say(make, *arguments):
    try: make(*arguments)
    except ConfigError as e: print(e)
    else: print("accepted")
"""


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    source = (
        "from torch import nn\nnumber = 3\ndef nothing(num_classes, image_channels): return None\n"
        "def fixed(num_classes): return nn.Linear(1, 1)\n"
    )
    names = {"number": "nets:number", "nothing": "nets:nothing", "fixed": "nets:fixed", "resnet26": "nets:nothing"}
    names |= {"densenet121": "nets:nothing", "gone": "nets:gone", "broken": "bad:Net"}
    files = {f"{name}.yaml": f"name: {name}\n" for name in names}
    install(tmp_path, {**files, "nets.py": source, "bad.py": "1 / 0"}, names, "nets", "normbench.models")
    asked = "".join(f"say(models.build, {name!r})\n" for name in names)
    said = dict(zip(names, code(tmp_path, BUILD + asked).splitlines(), strict=True))
    assert said["number"] == "model=number: nets:number is no function or class that makes a network"
    assert said["nothing"] == "model=nothing: nets:nothing made no torch.nn.Module, but NoneType"
    assert said["fixed"] == "model=fixed takes no image_channels=, and every network is told it"
    assert said["densenet121"].startswith("model=densenet121 is claimed by nets:nothing and by a network of that name")
    assert said["gone"].startswith("model=gone: nets:gone cannot be imported: AttributeError")
    assert said["broken"] == "model=broken: bad:Net cannot be imported: ZeroDivisionError: division by zero"


def test_a_data_set_that_is_not_what_its_facts_say_is_refused(tmp_path: Path) -> None:
    page = dict(re.findall(r"```\w+\n# stripes/(\S+)\n(.*?)```", TEXT, re.DOTALL))
    names = {"three": "test_images: 64", "wide": "[1, 8, 8]", "many": "train_images: 256"}
    wrong = {"three": "test_images: 65", "wide": "[1, 8, 9]", "many": "train_images: 257"}
    files = {"stripes.py": page["__init__.py"] + "\ndef none(*_, **__): return None\n"}
    for name, said in names.items():
        files[f"{name}.yaml"] = (
            page["stripes.yaml"].replace("name: stripes", f"name: {name}").replace(said, wrong[name])
        )
    files["none.yaml"] = page["stripes.yaml"].replace("name: stripes", "name: none")
    install(tmp_path, files, {**dict.fromkeys(names, "stripes:load"), "none": "stripes:none"}, "x", "normbench.data")
    asked = "".join(f"say(of_data, {name!r})\n" for name in (*names, "none"))
    assert code(tmp_path, BUILD + asked).splitlines() == [
        "data=three: test images 64 loaded, and 65 in the facts of three.yaml",
        "data=wide: image shape (1, 8, 8) loaded, and (1, 8, 9) in the facts of wide.yaml",
        "data=many: training images 256 loaded, and 257 in the facts of many.yaml",
        "data=none: stripes:none returned no normbench.data.Images, but NoneType",
    ]


def test_a_tracker_that_fails_is_a_line_and_the_run_goes_on(tmp_path: Path) -> None:
    source = (
        "from normbench.tracker import NoTracker\nclass Bare:\n    def __init__(self, run, folder): pass\n"
        "class Fails(NoTracker):\n    def __init__(self, run, folder): pass\n"
        "    def log(self, row): raise OSError('full\\nmore')\n"
    )
    names = {"bare": "own:Bare", "fails": "own:Fails", "gone": "own:Gone"}
    files = {"own.py": source, **{f"{name}.yaml": f"name: {name}\n" for name in names}}
    install(tmp_path, files, names, "own", "normbench.trackers")
    asked = (
        "from pathlib import Path\nfrom normbench import tracker\nfrom normbench.compose import run_of\n"
        f"for name in {list(names)}:\n"
        "    with tracker.build(run_of([f'tracker={name}']), Path('.'), enabled=True) as mirror:\n"
        "        mirror.log({'epoch': 1}); mirror.finish({'status': 'done'})\n"
    )
    bare, fails, gone = code(tmp_path, asked).splitlines()
    assert bare == "bare: Bare has no __enter__; a tracker is a normbench.tracker.NoTracker; this run is not tracked"
    assert fails == "fails: full"
    assert gone.startswith("gone: tracker=gone: own:Gone cannot be imported: AttributeError")
