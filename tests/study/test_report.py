"""Claims about the report: one file that needs nothing, holds every run, and lets no text of a record become markup."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from normbench import records, report
from normbench.study.figures import layout
from normbench.study.read import collected
from normbench.study.report import curve_svg, figure_svg, items

HOSTILE = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium")


def some_runs(make_run: Any, root: Path) -> Path:
    for seed in (0, 1):
        for batch, error in {32: 7.5, 2: 9.1}.items():
            folder = make_run(root, batch=batch, seed=seed, error=error + 0.1 * seed)
            command = ["python", "-m", "normbench", f"batch={batch}", f"seed={seed}", "norm=bn"]
            records.write_json(folder / "env.json", {"command": command, "commit": "abc1234", "device": "a CPU"})
        make_run(root, norm="gn", seed=seed, error=10.9, batch_free=True)
    make_run(root, norm="gn", seed=0, error=12.0, data__name="cifar10", batch=8)
    make_run(root, batch=1, error=None, state="diverged")
    failed = make_run(root, batch=4, state="failed", epochs=0)
    records.write_json(failed / "error.json", {"type": "RuntimeError", "error": "out of memory"})
    return root


def write(runs: Path, out: Path, *more: str) -> str:
    report.main(["--runs", str(runs), "--out", str(out), "--profile", str(runs / "profile.csv"), *more])
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of some_runs, with every figure there is."""
    folder = tmp_path_factory.mktemp("report")
    write(some_runs(make_run, folder / "runs"), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return written.read_text(encoding="utf-8")


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the figures are not what is tested, one is enough."""
    monkeypatch.setattr(items, "FIGURES", {"gn_fig1": items.FIGURES["gn_fig1"]})
    monkeypatch.setattr(items, "TABLES", {})


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    def runs(self) -> list[dict[str, str | None]]:
        return [attributes for attributes in self.named("details") if attributes.get("class") == "run"]


# ---------------------------------------------------------------------------- the file


def test_the_page_refers_to_nothing_outside_itself(text: str) -> None:
    page = Elements(text)
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.found}
    for _, attributes in page.found:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert re.match(r"#|data:image/png;", attributes.get(name) or "#"), attributes
    assert not re.search(r"https?://|url\((?!#)|@import", text)


def test_the_ids_of_several_figures_do_not_meet(text: str) -> None:
    page = Elements(text)
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes.get("href") or "" for _, attributes in page.found}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_the_same_records_give_the_same_bytes_in_another_process(written: Path, text: str, tmp_path: Path) -> None:
    runs = written.parent / "runs"
    program = "import sys; from normbench.report import main; main(sys.argv[1:])"
    options = ["--runs", str(runs), "--out", str(tmp_path / "two"), "--profile", str(runs / "profile.csv")]
    command = [sys.executable, "-c", program, *options]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    again = (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
    assert hashlib.sha256(again.encode()).hexdigest() == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.usefixtures("one_figure")
def test_text_of_records_never_becomes_markup(make_run: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", norm__groups=HOSTILE, label=HOSTILE, data__name=HOSTILE, model__name=HOSTILE)
    records.write_json(folder / "env.json", {"command": ["python", HOSTILE], HOSTILE: HOSTILE})
    failed = make_run(tmp_path / "runs", seed=1, state="failed")
    records.write_json(failed / "error.json", {"error": HOSTILE})
    text = write(tmp_path / "runs", tmp_path / "report.html")
    page = Elements(text)
    assert len(page.named("script")) == 1
    assert not page.named("img")
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;document.title" in text


@pytest.mark.usefixtures("one_figure")
def test_a_run_adds_few_bytes_and_little_time(make_run: Any, tmp_path: Path) -> None:
    """300 runs of 100 epochs of a ResNet-50 in less than 10 MB and 20 s."""
    sizes, seconds = [], []
    layers = {f"layer{i // 13}.{i % 13}.bn1": "256, workers=32" for i in range(53)}
    for count, place in ((4, "few"), (24, "more")):
        for seed in range(count):
            folder = make_run(tmp_path / place, seed=seed, epochs=0)
            rows = [{"epoch": e, "train_error_pct": 80.123 / e, "top1_error_pct": 90.123 / e} for e in range(1, 101)]
            (folder / "epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            records.write_json(folder / "env.json", {"command": ["python"], "norm_layers": layers})
        began = time.process_time()
        sizes.append(len(write(tmp_path / place, tmp_path / f"{place}.html").encode()))
        seconds.append(time.process_time() - began)
    assert (sizes[1] - sizes[0]) / 20 * 300 < 8e6
    assert (seconds[1] - seconds[0]) / 20 * 300 < 15


# ---------------------------------------------------------------------------- what it holds


def test_every_run_has_its_curve_config_environment_and_command(text: str) -> None:
    assert len(Elements(text).runs()) == 9
    for part in ("normbench batch=2 seed=1 norm=bn", "commit</dt><dd>abc1234", "device: a CPU"):
        assert part in text
    assert "recipe:\n  name: digits\n  epochs: 15\n" in text
    assert text.count('class="curve"') == 7  # the one that failed has no epoch, the one that diverged no error
    assert "out of memory" in text
    assert "not recorded" in text


@pytest.mark.usefixtures("one_figure")
def test_the_coverage_and_what_is_missing_are_said(make_run: Any, tmp_path: Path) -> None:
    runs = some_runs(make_run, tmp_path / "runs")
    (runs / "empty").mkdir()
    text = write(runs, tmp_path / "report.html")
    assert '<span class="done">2 done</span>' in text
    assert '<span class="diverged">1 diverged</span>' in text
    assert "digits, cifar_resnet8, fixed_sgd, sgd batch 64" in text
    assert "empty folder" in text
    assert "fill it: <code>normbench -m experiment=gn_fig1 data=digits model=cifar_resnet8 " in text


@pytest.mark.usefixtures("one_figure")
def test_variants_of_a_norm_are_filtered_by_its_name_and_like_gaps_are_said_together(
    make_run: Any, tmp_path: Path
) -> None:
    for label in ("gn-groups8", "gn-groups4", "bn"):
        make_run(tmp_path / "runs", norm=label, batch=2)
    text = write(tmp_path / "runs", tmp_path / "report.html")
    page = Elements(text)
    assert [button["data-value"] for button in page.named("button") if button.get("data-key") == "norm"] == ["bn", "gn"]
    assert [run["data-norm"] for run in page.runs()] == ["bn", "gn", "gn"]
    assert "missing: bn at 32/16/8/4, gn at 32/16/8/4/2" in text


def test_every_figure_and_table_is_there_for_each_data_set_or_a_reason_given(written: Path) -> None:
    runs = collected.runs(written.parent / "runs")[0]
    figures, not_drawn = items.figures(runs, written.parent / "profile.csv")
    tables, not_filled = items.tables(runs)
    for names, made, not_made in ((items.FIGURES, figures, not_drawn), (items.TABLES, tables, not_filled)):
        accounted = [(it.name, it.data) for it in [*made, *not_made]]
        assert sorted(accounted) == sorted((name, data) for name in names for data in ("digits", "cifar10"))
        assert all(it.reason for it in not_made)
    assert ("gn_fig1", "digits") in {(item.name, item.data) for item in figures}
    (summary,) = (item for item in tables if (item.name, item.data) == ("summary", "digits"))
    assert "9.15" in " ".join(cell for row in summary.numbers for cell in row)  # of 9.1 and 9.2


@pytest.mark.usefixtures("one_figure")
def test_only_the_runs_that_match_the_filters(make_run: Any, tmp_path: Path) -> None:
    runs = some_runs(make_run, tmp_path / "runs")
    text = write(runs, tmp_path / "report.html", "data=cifar10")
    assert [run["data-data"] for run in Elements(text).runs()] == ["cifar10"]


def test_no_run_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert "0 runs" in write(tmp_path / "runs", tmp_path / "report.html")


# ---------------------------------------------------------------------------- drawings


def test_a_learning_curve_falls_where_the_error_falls_and_ends_where_the_run_ended() -> None:
    drawn = curve_svg.curve([1, 2, 3], {"validation": [50.0, 20.0, 10.0]}, planned=5, color="#0072b2")
    points = re.search(r'<polyline[^>]*points="([^"]+)"', drawn)
    assert points
    places = [tuple(map(float, pair.split(","))) for pair in points[1].split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted(y for _, y in places)  # down the page
    right = curve_svg.WIDTH - curve_svg.RIGHT
    assert places[-1][0] == pytest.approx((curve_svg.LEFT + right) / 2, abs=0.1)  # epoch 3 of 5
    assert curve_svg.curve([1], {"validation": [None]}, planned=5, color="#0072b2") == ""


def test_an_error_of_zero_and_a_constant_one_have_a_place() -> None:
    for values in ([5.0, 0.0], [7.0, 7.0], [0.003, 99.0]):
        drawn = curve_svg.curve([1, 2], {"validation": values}, planned=2, color="#000000")
        assert "nan" not in drawn
        assert "inf" not in drawn
        heights = [float(y) for y in re.findall(r"[\d.]+,([-\d.]+)", drawn)]
        assert all(0 <= y <= curve_svg.HEIGHT for y in heights)


def test_neutral_colours_follow_the_page_and_a_norms_own_stays() -> None:
    assert figure_svg.themed("#000000") == "color-mix(in srgb, var(--ink) 100%, var(--paper))"
    assert figure_svg.themed("#ffffff") == "color-mix(in srgb, var(--ink) 0%, var(--paper))"
    assert figure_svg.themed("#0072b2") == "color-mix(in srgb, #0072b2 var(--own), var(--ink))"
    figure, axes = layout.new_axes()
    axes.plot([1, 2], color="#0072b2")
    assert not re.search(r"(?:fill|stroke): #(?!0072b2)", figure_svg.inline(figure, "f0", "a line"))


# ---------------------------------------------------------------------------- in a browser


def chromium(tmp_path: Path, url: str, *flags: str) -> str:
    """What headless Chromium prints, with a profile of its own and no word to any server."""
    assert CHROMIUM
    profile = tmp_path / f"profile{len(list(tmp_path.glob('profile*')))}"
    quiet = ["background-networking", "component-update", "sync", "quic", "gpu", "default-apps", "extensions"]
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
    ]
    command += [f"--disable-{name}" for name in quiet] + ["--virtual-time-budget=3000", "--window-size=1200,900"]
    shown = subprocess.run([*command, *flags, url], capture_output=True, text=True, timeout=120, check=True)
    return shown.stdout


@needs_chromium
def test_the_address_filters_what_a_browser_shows(written: Path, tmp_path: Path) -> None:
    shown = chromium(tmp_path, f"{written.as_uri()}#data=digits&norm=gn", "--dump-dom")
    page = Elements(shown)
    visible = [run for run in page.runs() if "hidden" not in run]
    assert [(run["data-data"], run["data-norm"]) for run in visible] == [("digits", "gn")] * 2
    assert ">2 of 9 runs<" in shown
    pressed = [button["data-value"] for button in page.named("button") if button.get("aria-pressed") == "true"]
    assert pressed == ["digits", "gn"]
    figures = [figure for figure in page.named("figure") if "hidden" not in figure]
    assert figures
    assert {figure["data-data"] for figure in figures} == {"digits"}


@needs_chromium
@pytest.mark.usefixtures("one_figure")
def test_a_choice_of_two_settings_shows_their_difference(make_run: Any, tmp_path: Path) -> None:
    """7.5 and 7.6 at 32, 9.1 and 9.2 at 2: two pairs, and so no interval."""
    write(some_runs(make_run, tmp_path / "runs"), tmp_path / "report.html", "data=digits", "norm=bn")
    shown = chromium(tmp_path, (tmp_path / "report.html").as_uri(), "--dump-dom")
    assert "<output>−1.60, n = 2</output>" in shown
    assert "Fewer than 3 seeds decide nothing. No interval at n = 2" in shown
    assert re.findall(r'<span class="mean">([^<]+)<', shown) == ["7.55 ± 0.07 (2)", "9.15 ± 0.07 (2)"]
    assert [box for box in Elements(shown).found if box[1].get("class") == "choice" and "hidden" not in box[1]]


@needs_chromium
@pytest.mark.usefixtures("one_figure")
def test_a_hostile_config_stays_text_in_a_browser(make_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    make_run(tmp_path / "runs", norm__groups=HOSTILE, label=HOSTILE)
    write(tmp_path / "runs", out)
    shown = chromium(tmp_path, out.as_uri(), "--dump-dom")
    assert "<title>normbench: 1 runs on digits</title>" in shown
    assert "all 1 runs" in shown  # our own script ran


@needs_chromium
def test_the_page_is_light_by_day_and_dark_by_night(written: Path, tmp_path: Path) -> None:
    from PIL import Image

    for scheme, name in ((1, "light"), (0, "dark")):
        picture = tmp_path / f"{name}.png"
        setting = f"--blink-settings=preferredColorScheme={scheme}"
        chromium(tmp_path, written.as_uri(), setting, f"--screenshot={picture}")
        with Image.open(picture) as image:
            shades = image.convert("L").tobytes()
            share_bright = sum(shade > 128 for shade in shades) / len(shades)
        assert share_bright > 0.9 if name == "light" else share_bright < 0.1
