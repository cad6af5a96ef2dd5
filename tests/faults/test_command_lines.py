"""Command lines that are wrong, and some that only look it: each is one line and exit code 1 with
nothing on disk, or is accepted for a reason that stands beside it.

In one process, through the command's own entry. What only the network can refuse is built.
"""

# ruff: noqa: E501
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normbench import cli, records
from normbench.compose import planned, run_of
from normbench.config import ConfigError

# Each line of a group is a command line; all of a group are refused with the same words in them.
REFUSED: dict[str, str] = {
    r"takes one name|is empty": """
        norm=null | norm=8 | norm= | norm='' | norm=true | norm=[bn] | norm={a:1} | norm=nan | norm=inf | norm=1.5
        norm=../norm/bn | norm=bn.yaml | norm=bn/gn | "norm=' '" | protocol=null | protocol= | recipe=null | recipe=8
        recipe={lr:1} | data=null | data= | data=8 | data={} | model=null | model= | model=8 | tracker=null | tracker=
        experiment=null | experiment= | experiment=8 | experiment=[demo] | experiment={a:1} | -m norm=null,bn | -m norm=bn,8
        -m hydra/launcher=null | -m hydra/launcher=""",
    r"no such (norm|data|model|recipe|protocol|tracker|experiment|hydra/launcher)": """
        norm=BN | norm=gnn | norm=no_norm | data=nope | model=nope | recipe=nope | protocol=foo | tracker=foo | experiment=gn_fig11
        -m norm=bn,gx | -m experiment=nope | -m hydra/launcher=nope""",
    r"no such (key|option)": """
        nope=1 | BATCH=8 | Batch=8 | bathc=8 | foo.bar.baz=1 | recipe.warmup=3 | recipe.epohcs=3 | +foo=3 | ++foo=3
        +recipe.x=1 | +data.x=1 | +model.x=1 | +launcher.x=1 | norm.epsilon=1 | +norm.nope=3 | ++norm.nope=3
        norm=none norm.eps=1 | norm=gn norm.group=8 | defaults=[a] | _self_=1 | launcher.per_gpus=2""",
    r"a reference to another value": """
        'out=${oc.env:HOME}' | 'out=${oc.env:NO_SUCH}' | 'out=${nope}' | 'seed=${batch}' | 'seed=${seed}' | 'batch=${oc.decode:8}'
        'norm.eps=${norm.momentum}' | 'norm=${oc.env:X}' | 'data=${norm}' | 'recipe.milestones=${seed}' | 'model.options=${data}'
        'experiment=${seed}' | 'tracker.project=${oc.env:SECRET}' | 'device=${oc.env:X}' | 'precise_images=${now:%Y}'
        'recipe.lr=${eval:1}' | -m seed=0,1 'out=${seed}' | -m 'hydra.sweep.dir=${nope}'""",
    r"nothing can be taken away": "~norm | ~norm.eps | ~batch | ~data | ~model | ~recipe.lr | ~tracker | ~seed | ~nope | ~hydra",
    r"a run has one .* already": "+norm=gn | +data=digits | +experiment=demo",
    r"has no @": "norm@x=gn | batch@x=8 | norm@_global_=gn",
    r"the name goes with the rest": """
        norm.name=gn | norm.name=null | norm.name= | data.name=cifar10 | data.name=nope | recipe.name=x | protocol.name=per_worker
        tracker.name=wandb""",
    r"an experiment has no keys": "+experiment.x=1 | ++experiment.x=1 | experiment.x=1",
    r"Hydra's own settings say": """
        hydra.run.dir=x | hydra.sweep.dir=x | hydra.verbose=true | hydra.job.name=x | hydra.job.chdir=true | hydra.mode=MULTIRUN
        hydra.nope=1 | hydra=null | hydra=foo | hydra/sweeper=basic | hydra/job_logging=default | hydra.searchpath=[file:///tmp]
        hydra.output_subdir=x | hydra.callbacks.a._target_=os.system | +hydra.x=1 | ++hydra.x=1 | hydra.sweeper.params.seed=0""",
    r"of Hydra's own settings a sweep takes": """
        -m hydra=null | -m hydra.mode=RUN | -m hydra.nope=1 | -m hydra.run.dir=x | -m hydra.job.chdir=true | -m hydra.sweeper=null
        -m hydra.launcher=null | -m hydra.sweeper._target_=os.system | -m hydra.launcher._target_=os.system | -m +hydra.x=1
        -m hydra.callbacks.a._target_=os.system | -m hydra.job.env_set.A=b | -m hydra.searchpath=[file:///tmp]
        -m hydra.verbose=true | -m hydra.output_subdir=x | -m hydra/sweeper=nope | -m hydra/hydra_logging=default
        -m hydra.sweeper.max_batch_size=0""",
    r"a folder's name|one way|how many jobs": """
        -m hydra.sweep.dir=null | -m hydra.sweep.dir= | -m hydra/launcher=basic,joblib
        -m hydra/launcher=joblib hydra.launcher.n_jobs=0 | -m hydra/launcher=joblib hydra.launcher.n_jobs=x""",
    r"several values are a sweep; add -m": "seed=0,1 | seed=range(0,100000000) | seed=range(3) | norm=bn,gn | norm=glob(*) | seed=choice(0,1)",
    r"does not say which values": "-m norm=glob(*) | -m norm=glob(z*) | -m seed=interval(1,2) | -m batch=interval(1,2)",
    r"a range is range": "-m seed=range(0,3,0)",
    r"not one value": "-m seed=range(3,0) | -m seed=range(5,5)",
    r"cells, and a sweep has at most": """
        -m seed=range(0,100000000) | -m seed=range(0,1,1e-9) | -m seed=shuffle(range(0,100000000))
        -m seed=range(0,1000) batch=range(1,1000)""",
    r"given twice": "-m seed=0,1 seed=2,3 | -m batch=2,4 batch=8",
    r"one experiment at a time": "-m experiment=demo,gn_fig1",
    r"\bkey=value|override is key=value|no such flag": """
        batch | 'batch 8' | batch:8 | - | --- | -x | --batch=8 | --dryy | --dry=1 | --config-name x | --config-path /tmp
        --config-dir /tmp | -cn x | -cp /tmp | --experimental-rerun x | --run | -r | --multirun=1 | -M | = | =3 | a,b=1 | größe=1 | +=1
        'batch=(8' | 'batch=[8' | 'batch={8' | 'batch=8)' | '"' | -m batch=2,,4 | -m seed=choice( | no-flag""",
    r"of --cfg is shown|--cfg|--info|one of job|add install": """
        --package x | -p x | --resolve | --cfg | --cfg nope | -c nope | --info nope | --dry --cfg job | --shell-completion | -sc""",
    r"must be (at least|at most|from|a finite|a whole|a number)": """
        norm.eps=nan | norm.eps=inf | norm.eps=-1 | norm.eps=-1e-5 | norm.eps=1e400 | norm.eps=1e300 | norm.momentum=-0.1
        norm.momentum=1.1 | norm.momentum=nan | norm.momentum=inf | norm=gn norm.groups=true | norm=gn norm.groups=0
        norm=gn norm.groups=-1 | norm=gn norm.groups=1.5 | norm=gn norm.groups=nan | norm=gn norm.groups=abc
        norm=gn norm.groups=1000000000000 | norm=gn norm.channels_per_group=0 | norm=gn norm.channels_per_group=abc
        norm=gn norm.channels_per_group=true | norm=gn norm.channels_per_group=2.5 | norm=gn norm.min_channels_per_group=0
        norm=gn norm.min_channels_per_group=null | norm=gn norm.min_channels_per_group=1.5 | norm=cbn norm.window=0
        norm=cbn norm.rho=-1 | norm=cbn norm.rho=nan | norm=cbn norm.rho=2 | norm=cbn norm.burnin_epochs=-1
        norm=cbn norm.burnin_epochs=abc | norm=cbn norm.burnin_epochs=true | norm=mabn norm.imitate=0 | norm=mabn norm.limit=0
        norm=mabn norm.limit=-5 | norm=mabn norm.warmup_epochs=-1 | norm=mabn norm.correction_epochs=inf | norm=brn norm.rmax=0.5
        norm=brn norm.dmax=nan | norm=brn norm.bn_epochs=-1 | norm=powernorm norm.alpha=2 | norm=powernorm norm.alpha=-1
        norm=lrn norm.size=0 | norm=lrn norm.size=100000000 | norm=lrn norm.beta=inf | norm=gn_ws norm.correction=2
        norm=gn_ws norm.ws_eps=-1 | norm=group_batch norm.examples=0 | norm=group_batch norm.example_weight=2
        norm=syncbn norm.sync_size=abc | norm=syncbn norm.sync_size=0 | norm=scn norm.relu_gain=-1 | norm=bn norm.ghost=0
        batch=0 | batch=-1 | batch=999999999999999999 | workers=0 | workers=99999999999 | sgd_batch=0
        sgd_batch=97654321987 | sgd_batch=123456789012345678901234567890 | seed=-1 | seed=18446744073709551616
        data.seed=-1 | data.seed=99999999999999999999 | threads=0 | threads=100000 | precise_images=0 | eval_batch=0
        eval_batch=10000000000000000000000 | checkpoint_steps=-5 | launcher.per_gpu=0 | data.train_size=0 | data.labels_per_batch=0
        data.test_size=0
        data.num_classes=1 | recipe.epochs=0 | recipe.lr_batch=0 | recipe.warmup_epochs=-1 | recipe.warmup_epochs=nan
        recipe.momentum=-1 | recipe.momentum=1.5 | recipe.weight_decay=-1 | recipe.weight_decay=inf | recipe.fc_std=nan
        model.gn_min_channels=0 | train.micro_workers=0 | probe.layer=last probe.every=0""",
    r"recipe\.(lr|decay) must be above 0": """
        recipe.lr=0 | recipe.lr=-0.1 | recipe.lr=nan | recipe.lr=inf | recipe.lr=1e400 | recipe.lr=1e-400 | recipe.decay=100
        recipe.decay=0 | recipe.decay=nan | recipe.decay=1.5""",
    r"recipe\.milestones": """
        recipe.milestones=[30,60] | recipe.milestones=[0.9,0.6,0.3] | recipe.milestones=[0.5,0.5] | recipe.milestones=[nan]
        recipe.milestones=[-0.5] | recipe.milestones=[0] | recipe.milestones=[[0.1]] | recipe.milestones=[null]
        recipe.milestones=[a] | recipe.milestones=0.5 | recipe.milestones=""",
    r"needs a momentum|freeze_from|label_smoothing|is more than recipe.epochs": """
        recipe.nesterov=true recipe.momentum=0 | recipe.freeze_from=0 | recipe.freeze_from=nan | recipe.freeze_from=2
        recipe.label_smoothing=1 | recipe.label_smoothing=nan | recipe.warmup_epochs=1000""",
    r"true or false": "recipe.nesterov=5 | recipe.nesterov=null | channels_last=maybe | overwrite=2 | recipe.decay_norm=5 | data.download=yes_please",
    r"is no option|is a property": """
        data.train_images=100 | data.train_images=null | data.train_images=99999999 | data.files=abc | data.facts.loader=cifar
        +data.facts.x=1 | norm.batch_free=true""",
    r"is empty|cannot be printed": """
        out= | out='' | "out=' '" | device= | precision= | tracker.project= | data.augment= | eval_stats= | model.name=
        recipe.schedule= | recipe.init= | probe.layer= | norm=cbn norm.negative= | norm=frozen norm.checkpoint=
        model.options.shortcut= | "eval_also=['']" | "out=a\tb" | "tracker.project=a\x1b[2Jb" | "out=\udce4" """,
    r"one of|no such choice|takes": """
        device=meta | device=foo | device=CPU | device=8 | device=cuda:x | device=auto:1 | precision=fp8 | precision=32
        eval_stats=worker1 | eval_also=[nope] | recipe.schedule=foo | recipe.init=foo | tracker.mode=foo""",
    r"must be a finite number|at most 10000 layers": "model.options.width=nan | model.options.width=inf | model.name=cifar_resnet7777777778",
    r"GiB for one layer": "norm=cbn norm.window=10000000 | norm=mabn norm.window=10000000 | norm=mabn norm.imitate=2000000000",
    r"no such file": "norm=frozen norm.checkpoint=/nope | norm=frozen norm.checkpoint=/tmp | norm=frozen norm.checkpoint=/dev/zero",
    r"could not be converted|not.* supported|incompatible|cannot be|must": """
        batch=abc | batch=1e3 | batch=[1] | batch={a:1} | batch=nan | batch=8.5 | batch= | batch=null | batch=true | workers=1.5
        seed=abc | seed=1.5 | seed=null | recipe.epochs=1.5 | recipe.lr=abc | recipe.lr=null | recipe.epochs=null
        data.train_size=abc | data.train_size=1.5 | threads=abc | out=null | -m batch=2,abc | -m seed=0,x""",
    r"divide|larger than|cannot be set|takes workers|takes sgd_batch|is more than|does not apply|has no layer": """
        batch=5 | workers=3 | sgd_batch=31 | sgd_batch=100000 | protocol=per_worker sgd_batch=7 | protocol=fixed_sgd protocol.workers=2
        protocol=per_worker protocol.sgd_batch=64 | data.train_size=9000 | data.test_size=9000 | data.augment=foo
        data.labels_per_batch=3 batch=8
        data.augment=crop_flip | data.image_size=32 | data.root=x | data.download=true | data.loader_processes=2 | probe.every=5""",
    r"data\.root|data\.image_size": """
        data=cifar10 | data=imagenet | data=imagenet data.root=/nope | data=imagenet data.root=/dev/null
        data=imagenet data.root=/proc | data=cifar10 data.root=/etc/passwd""",
}  # fmt: skip


def _lines() -> list[tuple[str, str]]:
    return [(said, one.strip()) for said, text in REFUSED.items() for one in re.split(r" \| |\n", text) if one.strip()]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return [line]


def test_there_are_at_least_250() -> None:
    assert len({line for _, line in _lines()}) >= 250


@pytest.mark.parametrize(("said", "line"), _lines())
@pytest.mark.timeout(60)
def test_it_is_refused_with_one_line_and_leaves_nothing(
    said: str,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tried: Callable[..., None],
) -> None:
    tried("wrong command lines")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "execute", lambda *_, **__: pytest.fail("was accepted"))
    assert cli._guarded(_words(line)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("normbench: ")
    assert re.search(said, err), err
    assert len(err) < 600
    assert not any(tmp_path.iterdir())


# ---------------------------------------------------------------------------- what only looks wrong

ACCEPTED: dict[str, str] = {  # each with its reason
    "seed=18446744073709551615": "torch's largest seed",
    "norm.momentum=0": "the bounds belong to the range: the moving average stays where it began",
    "norm.momentum=1": "the moving average is the last batch's",
    "norm.eps=0": "the formula without its guard",
    "recipe.decay=1": "a constant learning rate",
    "recipe.weight_decay=0": "none",
    "recipe.milestones=[]": "no steps",
    "eval_also=[]": "off",
    "data.train_images=8000": "what the data set has",
    "batch=8 batch=16": "the last one counts, so that a script's defaults can be followed by more",
    "++batch=8": "Hydra's spelling of a key that may be there",
    "out=5": "a folder's name",
    "out=a=b": "a folder's name",
    "'out=it is here'": "a folder's name with blanks",
    "tracker.project=5": "a project's name",
    "model.options.dropout=0.5": "an argument of the network, which is asked when it is built",
    "norm=gn norm.groups=auto": "a word that the option takes",
    "norm=bn norm.example_weight=auto": "a word that the option takes",
}


@pytest.mark.parametrize("line", ACCEPTED)
def test_it_is_accepted_for_a_reason(line: str) -> None:
    run_of(_words(line))


BUILT = """
    norm=gn norm.groups=5 | norm=gn norm.channels_per_group=4 norm.groups=2 | norm=cbn norm.negative=foo
    norm=mabn norm.start=second | norm=powernorm norm.group_scaling=7 | norm=lrn norm.k=0 | norm=frn norm.learn_eps=8
    norm=syncbn norm.sync_size=3 | norm=ebn norm.std_about=foo | device=cuda:99 | data.num_classes=9
    model.name=cifar_resnet9 | model.options.nope=3 | model.options.shortcut=C"""


@pytest.mark.parametrize("line", [one.strip() for one in re.split(r" \| |\n", BUILT) if one.strip()])
def test_what_the_network_refuses_is_one_line_and_leaves_nothing(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["data.train_size=64", "data.test_size=64", "recipe.epochs=1", "sgd_batch=32", "batch=8", "tracker=none"]
    assert cli._guarded([*_words(line), *tiny]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


# ---------------------------------------------------------------------------- paths

TINY = ["data.train_size=64", "recipe.epochs=1", "sgd_batch=32", "batch=8", "model.options.width=4", "device=cpu"]
TINY += ["data.test_size=64"]


@pytest.mark.parametrize(
    "name", ["größe", "日本", "a b", "it's", "a=b", "x(1)", "a,b", 'say "no"', "[1]", "50%", "a#b"]
)
def test_a_folder_may_have_any_printable_name(name: str, tmp_path: Path) -> None:
    typed = f"out={tmp_path}/{name}"
    if name == "a,b":  # to Hydra two values
        typed = f"out='{tmp_path}/{name}'"
    assert run_of([typed]).out == f"{tmp_path}/{name}"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_of_hydras_are_no_part_of_a_folder(quote: str, tmp_path: Path) -> None:
    assert run_of([f"out={quote}{tmp_path}/größe ü{quote}"]).out == f"{tmp_path}/größe ü"


def test_a_run_and_a_sweep_write_into_a_folder_with_umlauts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli._guarded([*TINY, "out=über/größe"]) == 0
    (result,) = (tmp_path / "über" / "größe").rglob("result.json")
    assert records.state(result.parent) == "done"
    cells = planned(["seed=0,1", "out=größe"])
    assert [run.out for _, run in cells] == ["größe", "größe"]
    assert [run_of(typed).folder for typed, _ in cells] == [run.folder for _, run in cells]


@pytest.mark.parametrize("out", ["/dev/null", "/dev/null/x", "/proc/nope", "file", "file/x", "n" * 300])
def test_a_folder_that_cannot_be_is_one_line(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert cli._guarded([*TINY, f"out={out}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Errno" in line
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_value_that_is_nested_too_deep_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"nested too deep|override is key=value") as caught:
        run_of(["batch=" + "[" * 3000])
    assert len(str(caught.value).splitlines()) == 1


def test_a_sweep_refused_is_told_before_any_cell_starts(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(cli, "execute", lambda *_, **__: pytest.fail("was started"))
    assert cli._guarded(["-m", "norm=bn,gn", "norm.eps=1e-5,-1"]) == 1
    assert "norm.eps must be from 0 to 1" in capsys.readouterr().err
