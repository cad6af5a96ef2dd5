"""Norms of installed packages: the example of docs/adding.md, taken from its text, and what goes wrong is one line.

Nothing is installed: a folder with a package and its .dist-info on PYTHONPATH is what pip would have left.
"""

import re
import sys
from pathlib import Path

import pytest
from offered import code, complaint, install, python

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "adding.md", ROOT / "README.md"


def example() -> dict[str, str]:
    """The files of the example package: each code block that opens with `# <file>` of it."""
    blocks = re.findall(r"```\w+\n# tinynorm/(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert {name for name, _ in blocks} == {"__init__.py", "rms.yaml", "pyproject.toml"}
    return {name if name == "pyproject.toml" else f"tinynorm/{name}": text for name, text in blocks}


def yaml(name: str) -> str:
    return f"name: {name}\nbatch_free: true\n"


@pytest.fixture
def tinynorm(tmp_path: Path) -> Path:
    files = example()
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    install(tmp_path, files, project["entry-points"]["normbench.norms"], project["name"])
    return tmp_path


def test_the_example_is_a_batch_norm_of_fifteen_lines_and_the_readme_has_it() -> None:
    text = example()["tinynorm/__init__.py"]
    body = [line for line in text.splitlines() if line.strip() and "import" not in line]
    assert len(body) <= 15
    assert "(RunningNorm)" in text
    assert f"```python\n# tinynorm/__init__.py\n{text}```" in README.read_text()


def test_the_example_keeps_the_contract(tinynorm: Path) -> None:
    shown = code(
        tinynorm, "from normbench.testing import check_norm; r = check_norm('rms'); print(r); assert r.ok, str(r)"
    )
    assert "rms: all checks passed" in shown


def test_the_example_trains_and_is_listed(tinynorm: Path) -> None:
    run = ["norm=rms", "norm.eps=1e-3", "data.train_size=256", "recipe.epochs=1", "sgd_batch=32", "batch=8"]
    done = python(tinynorm, "-m", "normbench", *run, "data.test_size=200", "model.options.width=4", "out=runs")
    assert done.returncode == 0, done.stderr
    assert "rms-eps0.001" in done.stdout
    assert list((tinynorm / "runs").rglob("result.json"))
    page = python(tinynorm, "-m", "normbench.norms", "rms").stdout
    assert page.startswith("y = gamma_c x / sqrt(mean(x^2) + eps) + beta_c")
    assert "norm.eps=1e-05\n        added to the mean square\n" in page
    listed = python(tinynorm, "-m", "normbench.norms")
    assert re.search(
        r"rms +│ a worker's images, one channel, all positions +│ no +│ eps=1e-05, momentum=0.1", listed.stdout
    )


def test_a_config_is_composed_without_importing_the_package(tinynorm: Path) -> None:
    shown = code(
        tinynorm,
        "import sys\n"
        "from normbench.compose import run_of, runs_of\n"
        "print(run_of(['norm=rms', 'norm.eps=1']).norm.options)\n"
        "print([run.norm.name for run in runs_of(['norm=bn,rms'])])\n"
        "assert not {'tinynorm', 'torch'} & set(sys.modules)\n",
    )
    assert shown.splitlines() == ["{'eps': 1.0, 'momentum': 0.1}", "['bn', 'rms']"]


def test_its_options_are_checked_like_ours(tinynorm: Path) -> None:
    said = "norm.epps: no such option (did you mean norm.eps?); this norm has norm.eps, norm.momentum"
    assert complaint(tinynorm, "norm=rms", "norm.epps=1") == said
    assert "norm.eps='x' should be a float" in complaint(tinynorm, "norm=rms", "norm.eps=x")
    assert "did you mean rms?" in complaint(tinynorm, "norm=rmss")


def test_only_the_norm_asked_for_is_imported(tmp_path: Path) -> None:
    """A broken package stands in nobody's way until its norm is chosen."""
    files = {"bad/__init__.py": "", "bad/layer.py": "raise RuntimeError('no luck')", "bad/broken.yaml": yaml("broken")}
    install(tmp_path, files, {"broken": "bad.layer:Layer"}, "bad")
    shown = code(
        tmp_path,
        "from torch import nn; from normbench import norms\n"
        "norms.build('gn', nn.Conv2d(3, 8, 1)); assert 'broken' in norms.names()\n"
        "try: norms.layer('broken')\n"
        "except norms.ConfigError as e: print(e)\n",
    )
    assert shown.strip() == "norm=broken: bad.layer:Layer cannot be imported: RuntimeError: no luck"
    listed = python(tmp_path, "-m", "normbench.norms").stdout
    assert "broken" in listed
    assert "syncbn" in listed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Layer = 3", "is not a subclass"),
        (
            "from normbench.norms import Norm\nclass Layer(Norm): name = 'other'",
            "must say name = 'mine', and says 'other'",
        ),
        ("", "cannot be imported: AttributeError"),
    ],
)
def test_what_is_no_norm_is_refused(tmp_path: Path, text: str, says: str) -> None:
    install(tmp_path, {"mine.py": text, "mine.yaml": yaml("mine")}, {"mine": "mine:Layer"}, "mine")
    shown = code(
        tmp_path, "from normbench import norms\ntry: norms.layer('mine')\nexcept norms.ConfigError as e: print(e)"
    )
    assert says in shown


def test_a_missing_or_unsound_yaml_is_named(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "", "pkg/none.py": "", "pkg/unsound.yaml": "name: sound\n", "pkg/torn.yaml": "a: [\n"}
    offers = {"lost": "pkg.none:A", "unsound": "pkg.none:B", "torn": "pkg.none:C", "away": "nowhere.x:D"}
    install(tmp_path, files, offers, "tinynorm")
    assert "pkg.none:A of tinynorm needs the file lost.yaml beside it" in complaint(tmp_path, "norm=lost")
    assert "must say name: unsound, and batch_free" in complaint(tmp_path, "norm=unsound")
    assert "torn.yaml cannot be read" in complaint(tmp_path, "norm=torn")
    assert "nowhere.x:D of tinynorm needs the file away.yaml" in complaint(tmp_path, "norm=away")


def test_a_name_claimed_twice_is_refused_and_no_other(tmp_path: Path) -> None:
    layer = {"mine/__init__.py": "", "mine/gn.yaml": yaml("gn"), "mine/two.yaml": yaml("two")}
    install(tmp_path, layer, {"gn": "mine:GN", "two": "mine:Two"}, "tinynorm")
    install(tmp_path, {}, {"two": "mine:Second"}, name="another")
    assert "norm=gn is claimed by mine:GN of tinynorm and by normbench itself" in complaint(tmp_path, "norm=gn")
    assert "norm=two is claimed by" in complaint(tmp_path, "norm=two")
    code(tmp_path, "from normbench.compose import run_of; assert run_of(['norm=bn']).norm.name == 'bn'")
