"""``report(cfg)``: from sample tables to one self-contained page."""

import base64
import html
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configs import IGNORE_LIGHTNING_WARNINGS, TINY_TRAINING, Compose, only
from matplotlib.figure import Figure
from processes import BROWSERS, Call
from tables import alarm_table, certificate_table, cost_table, sample_table

from advforensics.alarms import alarm as alarms
from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.report import report
from advforensics.statistics.curves import curves
from advforensics.statistics.sample_table import read_samples, write_samples
from advforensics.sweep import sweep
from advforensics.train import train

DEFENSES = ("baseline", "gradient_regularized", "adversarial_fusion", "regularized_fusion")
CLASSES = ("pristine", "blur", "noise")
FACTS = ["task", "detector", "defense", "seed", "checkpoint", "commit"]


def synthetic_run(folder: Path, defense: str, seed: int, photographs: int = 12, swept: str = "norm == norm") -> None:
    """Write the files of training and sweep of one detector; ``swept`` is a query for the rows that were swept."""
    attacks = ("fgsm", "pgd", "pgd_l2", "postprocessing")
    rows = sample_table(photographs, attacks=attacks, defenses=[defense], seeds=[seed], domains=("float", "8bit"))
    rows = rows.query(swept).reset_index(drop=True)
    facts: dict[str, Any] = {**rows[FACTS].iloc[0]} | {"seed": seed, "checkpoint": f"{defense}{seed}".rjust(64, "0")}
    (folder / "sweep").mkdir(parents=True)
    write_samples(folder / "sweep" / "samples.parquet", rows.drop(columns=FACTS), facts, CLASSES, True)
    Figure().savefig(folder / "sweep" / "gallery.png")
    alarm_table().to_csv(folder / "sweep" / "alarms.csv", index=False)
    cost_table(rows).to_csv(folder / "sweep" / "costs.csv", index=False)
    log = {"epoch": [1, 2], "train_loss": [2.0, 1.0], "val_loss": [2.0, 1.5], "val_accuracy": [0.3, 0.6]}
    pd.DataFrame(log).to_csv(folder / "training.csv", index=False)
    costs = {"train_seconds": 12.0, "train_forward_images": 3000.0, "train_backward_images": 2000.0}
    (folder / "metrics.json").write_text(json.dumps(costs))
    score = {"balanced_accuracy": 0.34, "low": 0.3, "high": 0.39, "leak": False}
    (folder / "sweep" / "data").mkdir()
    (folder / "sweep" / "data" / "audit.json").write_text(
        json.dumps({"chance": 1 / 3, "clues": {"brightness": score}, "warnings": []})
    )


@pytest.fixture(scope="module")
def synthetic_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    for defense in ("baseline", "gradient_regularized"):
        synthetic_run(folder / f"{defense}-1", defense, 1)
    return folder


@pytest.fixture
def runs(synthetic_runs: Path, tmp_path: Path) -> Path:
    shutil.copytree(synthetic_runs, tmp_path / "runs")
    return tmp_path / "runs"


def headlines(report: Path) -> dict[str, dict[str, float]]:
    """Return what ``dvc metrics`` shows, by defense."""
    return {path.stem: json.loads(path.read_text()) for path in (report / "metrics").iterdir()}


def links(page: str) -> list[str]:
    """Return everything that a page loads or links to."""
    return re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)


def assert_self_contained(page: str) -> None:
    assert {link.partition(":")[0][:1] if link.startswith("#") else link[:22] for link in links(page)} <= {
        "#",
        "data:image/png;base64,",
    }
    assert not re.search(r"<(script|link|iframe)\b|@import", page)
    for picture in re.findall(r"data:image/png;base64,([^\"]+)", page):
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert {link[1:] for link in links(page) if link.startswith("#")} <= set(ids)


def test_the_page_is_self_contained_and_figures_and_tables_are_files_too(runs: Path, composed: Compose) -> None:
    finding = report(composed("report", f"runs={runs}", "eps_levels=0.5", "resamples=50"))
    page = (runs / "report" / "report.html").read_text()
    assert_self_contained(page)
    assert "<svg" in page
    text = " ".join(page.split())
    for words in (
        *CLASSES,
        "72 patches for testing, from 12 photographs",
        "baseline",
        "gradient_regularized",
        "torch ",
    ):
        assert words in text
    assert finding.splitlines()[0] in page
    assert page.count("none of 3 alarms fired") == 2
    assert "WARNING" not in page
    assert (runs / "report" / "finding.txt").read_text() == finding + "\n"
    files = {path.name for path in (runs / "report").iterdir()}
    assert {"report.html", "finding.txt", "curves.csv", "robust_accuracy.csv", "metrics", "figures"} <= files
    assert {"radii.csv", "comparisons.csv"} <= files
    figures = {path.name for path in (runs / "report" / "figures").iterdir()}
    for name in (
        *("robustness-linf-float", "robustness-l2-8bit", "cascade-baseline", "confusion-baseline", "training"),
        *("postprocessing", "radii", "costs"),
    ):
        assert {f"{name}.png", f"{name}.svg"} <= figures
    plotted = pd.read_csv(runs / "report" / "robust_accuracy.csv")
    assert plotted["eps_levels"].tolist() == [0, 0.5, 1, 2]
    assert {"baseline", "gradient_regularized"} <= set(plotted)


@pytest.mark.usefixtures("sketched")
def test_warnings_about_the_data_come_first(runs: Path, composed: Compose) -> None:
    for folder in runs.iterdir():
        path = folder / "sweep" / "data" / "audit.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": ["format alone tells the class"]}))
    finding = report(composed("report", f"runs={runs}", "resamples=20"))
    assert finding.splitlines()[0] == "WARNING: the data: format alone tells the class."
    page = " ".join((runs / "report" / "report.html").read_text().split())
    assert "<td>brightness</td><td>34.0% [30.0, 39.0]</td><td>33.3%</td><td>no</td>" in page


@pytest.mark.usefixtures("sketched")
def test_whole_pictures_have_their_own_table(runs: Path, composed: Compose) -> None:
    plain = report(composed("report", f"runs={runs}", "resamples=20"))
    assert "Whole pictures" not in (runs / "report" / "report.html").read_text()
    for folder in runs.glob("*-1"):
        (folder / "pictures").mkdir()
        shutil.copy(folder / "sweep" / "samples.parquet", folder / "pictures")
    assert report(composed("report", f"runs={runs}", "resamples=20")) == plain
    assert "Whole pictures" in (runs / "report" / "report.html").read_text()
    assert (runs / "report" / "pictures.csv").read_text() == (runs / "report" / "curves.csv").read_text()


@pytest.mark.usefixtures("sketched")
def test_without_a_null_class_nothing_passes_as_pristine(runs: Path, composed: Compose) -> None:
    for path in runs.glob("*/sweep/samples.parquet"):
        samples = read_samples(path)
        facts = {name: str(samples[name].iloc[0]) for name in FACTS} | {"seed": 1}
        write_samples(path, samples.drop(columns=FACTS), facts, CLASSES, False)
    finding = report(composed("report", f"runs={runs}", "resamples=20"))
    assert " pass as" not in finding
    assert "passes as" not in (runs / "report" / "report.html").read_text()
    assert "passes_as_pristine" not in (runs / "report" / "curves.csv").read_text()


@pytest.mark.usefixtures("sketched")
def test_the_finding_has_the_numbers_of_the_curves(runs: Path, composed: Compose) -> None:
    config = composed("report", f"runs={runs}", "eps_levels=0.5", "resamples=50")
    finding = report(config)
    samples = pd.concat([read_samples(path) for path in sorted(runs.glob("*/sweep/samples.parquet"))])
    table = curves(samples, resamples=50)
    at = (table["attack"] == "worst") & (table["metric"] == "accuracy") & (table["domain"] == "float")
    at &= table["norm"] == "linf"
    metrics = headlines(runs / "report")
    for defense, rows in table[at].groupby("defense"):
        clean, robust = (rows[rows["eps_levels"] == eps].iloc[0] for eps in (0, 0.5))
        for row in (clean, robust):
            assert f"{row.estimate:.1%} [{100 * row.low:.1f}, {100 * row.high:.1f}]" in finding
        assert metrics[str(defense)]["clean"] == pytest.approx(clean.estimate, abs=1e-4)
        assert metrics[str(defense)]["float_0.5"] == pytest.approx(robust.estimate, abs=1e-4)
        assert metrics[str(defense)]["alarms"] == 0
        curve = rows[rows["eps_levels"] <= config.area_levels].sort_values("eps_levels")
        area = np.trapezoid(curve["estimate"], curve["eps_levels"]) / curve["eps_levels"].max()
        assert metrics[str(defense)]["area"] == pytest.approx(area, abs=1e-4)
    compared = pd.read_csv(runs / "report" / "comparisons.csv")
    estimate, low, high = 100 * compared.loc[compared["eps_levels"] == 0.5, ["estimate", "low", "high"]].to_numpy()[0]
    interval = f"{estimate:.1f} points [{low:.1f}, {high:.1f}] at 1/2 level"
    assert f"gradient_regularized beats baseline by {interval} (p" in finding
    facts = "by Holm over 3 comparisons, 12 photographs, 72 patches, 1 seed)"
    assert f"{facts}; this holds for these trainings, others may differ." in finding
    assert "do not differ significantly on clean pictures" in finding


@pytest.mark.usefixtures("sketched")
def test_a_collapse_is_stated_once(runs: Path, composed: Compose) -> None:
    path = runs / "gradient_regularized-1" / "sweep" / "samples.parquet"
    rows = read_samples(path)
    facts: dict[str, Any] = {**rows[FACTS].iloc[0]} | {"seed": 1}
    write_samples(path, rows.drop(columns=FACTS).assign(predicted=1, correct=rows["label"] == 1), facts, CLASSES, True)
    alarms.write(path.with_name("alarms.csv"), sample_table_alarms(read_samples(path)))
    finding = report(composed("report", f"runs={runs}", "resamples=50"))
    assert "COLLAPSED: 100% of clean pictures get the same answer" in finding
    assert finding.count("COLLAPSED") == 1


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize(
    ("swept", "given", "sentence", "heading", "metric"),
    [
        (
            "norm == 'l2' and domain == 'float'",
            "eps_levels=0.5",
            "when the root-mean-square change is at most 1/2 level",
            ("L2, float pictures", "L2 float, ε 0.5"),
            "l2_float_0.5",
        ),
        (
            "domain == '8bit' and norm == 'linf'",
            "eps_levels=2",
            "when no pixel value changes by more than 2 levels (8-bit pictures)",
            ("L∞, 8-bit pictures", "L∞ 8bit, ε 2"),
            "8bit_2",
        ),
    ],
)
def test_a_report_is_about_the_norm_and_domain_that_was_swept(
    composed: Compose, tmp_path: Path, swept: str, given: str, sentence: str, heading: tuple[str, str], metric: str
) -> None:
    for defense in ("baseline", "mine"):
        synthetic_run(tmp_path / "runs" / f"{defense}-1", defense, 1, swept=swept)
    finding = report(composed("report", "runs=runs", given, "resamples=20"))
    rows = read_samples(Path("runs/mine-1/sweep/samples.parquet"))
    at = rows[(rows["eps_levels"] == float(given[11:])) & rows["attack"].isin(["pgd", "pgd_l2"])]
    robust = f"{at['correct'].mean():.1%}"
    (mine,) = (line for line in finding.splitlines() if line.startswith("mine: "))
    assert robust in mine
    assert sentence in mine
    assert f"({heading[0]})" in finding.splitlines()[-1]
    page = " ".join(Path("runs/report/report.html").read_text().split())
    assert all(words in page for words in heading)
    assert ("L∞" in page) == (heading[0][:2] == "L∞")
    metrics = headlines(Path("runs/report"))["mine"]
    assert f"{metrics[metric]:.1%}" == robust
    plotted = pd.read_csv("runs/report/robust_accuracy.csv").set_index("eps_levels")
    assert f"{plotted['mine'][float(given[11:])]:.1%}" == robust
    with pytest.raises(ValueError, match="radii that were swept") as refused:
        report(composed("report", "runs=runs", "eps_levels=0.3", "resamples=20"))
    assert "\n" not in str(refused.value)


def test_sweeps_without_a_common_norm_and_domain_are_refused(composed: Compose, tmp_path: Path) -> None:
    synthetic_run(tmp_path / "runs" / "baseline-1", "baseline", 1, swept="norm == 'l2' and domain == 'float'")
    synthetic_run(tmp_path / "runs" / "mine-1", "mine", 1, swept="norm == 'linf'")
    with pytest.raises(ValueError, match=r"no norm and domain was swept for all of \['baseline', 'mine'\]"):
        report(composed("report", "runs=runs", "resamples=20"))


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize(
    ("override", "message"), [("eps_levels=0.3", "radii that were swept"), ("area_levels=0.1", "no radius up to 0.1")]
)
def test_a_radius_that_was_not_swept_is_refused(runs: Path, composed: Compose, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        report(composed("report", f"runs={runs}", "resamples=50", override))


@pytest.mark.usefixtures("sketched")
def test_a_warning_about_alarms_comes_first(runs: Path, composed: Compose) -> None:
    alarm_table("vanishing_gradients").to_csv(runs / "baseline-1" / "sweep" / "alarms.csv", index=False)
    finding = report(composed("report", f"runs={runs}", "resamples=50"))
    assert finding.startswith(
        "WARNING: do not trust the results of baseline until these alarms are resolved: vanishing g"
    )
    page = " ".join((runs / "report" / "report.html").read_text().split())
    assert "1 of 3 alarms fired" in page
    assert page.index("what to do about vanishing_gradients") < page.index("Alarms that did not fire")
    metrics = headlines(runs / "report")
    assert [metrics[defense]["alarms"] for defense in ("baseline", "gradient_regularized")] == [1, 0]


@pytest.mark.usefixtures("sketched")
def test_a_sweep_without_alarms_is_not_trusted(runs: Path, composed: Compose) -> None:
    (runs / "baseline-1" / "sweep" / "alarms.csv").unlink()
    finding = report(composed("report", f"runs={runs}", "resamples=50"))
    assert "results of baseline until these alarms are resolved: alarms not checked" in finding
    assert "baseline, seed 1: alarms were not checked" in (runs / "report" / "report.html").read_text()


@pytest.mark.usefixtures("sketched")
def test_a_certificate_gives_a_bracket(runs: Path, composed: Compose) -> None:
    sweep_folder = runs / "baseline-1" / "sweep"
    certificate = runs / "baseline-1" / "certificate" / "certificate.csv"
    certificate.parent.mkdir()
    certificate_table(read_samples(sweep_folder / "samples.parquet")).to_csv(certificate)
    report(composed("report", f"runs={runs}", "resamples=50"))
    table = pd.read_csv(runs / "report" / "brackets.csv")
    assert set(table["curve"]) == {"attack", "certificate"}
    assert (runs / "report" / "figures" / "bracket-linf-linear-bounds.svg").is_file()
    assert_self_contained((runs / "report" / "report.html").read_text())


@pytest.mark.usefixtures("sketched")
def test_a_certificate_in_a_norm_that_was_not_swept_is_left_out_and_named(composed: Compose, tmp_path: Path) -> None:
    synthetic_run(tmp_path / "runs" / "baseline-1", "baseline", 1, swept="norm == 'linf'")
    certificate = tmp_path / "runs" / "baseline-1" / "certificate" / "certificate.csv"
    certificate.parent.mkdir()
    table = certificate_table(read_samples(certificate.parents[1] / "sweep" / "samples.parquet"))
    table.assign(norm="l2").to_csv(certificate)
    finding = report(composed("report", f"runs={tmp_path / 'runs'}", "resamples=50"))
    assert "Certificates in L2 are not shown" in finding
    assert not (tmp_path / "runs" / "report" / "brackets.csv").exists()
    pd.concat([table, table.assign(norm="l2")]).to_csv(certificate)
    report(composed("report", f"runs={tmp_path / 'runs'}", "resamples=50"))
    assert set(pd.read_csv(tmp_path / "runs" / "report" / "brackets.csv")["norm"]) == {"linf"}


@pytest.mark.usefixtures("sketched")
def test_one_detector_or_few_photographs_give_a_report_without_conclusions(composed: Compose, tmp_path: Path) -> None:
    synthetic_run(tmp_path / "runs" / "baseline-1", "baseline", 1, photographs=4)
    finding = report(composed("report", f"runs={tmp_path / 'runs'}", "resamples=50"))
    assert finding.startswith("baseline: ")
    assert "Which defence is better" not in (tmp_path / "runs" / "report" / "report.html").read_text()
    synthetic_run(tmp_path / "runs" / "mine-1", "mine", 1, photographs=4)
    finding = report(composed("report", f"runs={tmp_path / 'runs'}", "resamples=50"))
    assert finding.count("4 photographs are too few for a conclusion") == 2
    assert " beats " not in finding


def test_a_detector_that_was_trained_elsewhere_has_a_report_too(composed: Compose, tmp_path: Path) -> None:
    synthetic_run(tmp_path / "theirs", "baseline", 1)
    (tmp_path / "theirs" / "metrics.json").unlink()
    (tmp_path / "theirs" / "training.csv").unlink()
    report(composed("report", f"runs={tmp_path}", f"folder={tmp_path / 'report'}"))
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<td>unknown</td>" in page
    assert "Training log." not in page


def test_a_folder_without_sweeps_is_refused(composed: Compose, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="advforensics sweep checkpoint="):
        report(composed("report", f"runs={tmp_path}"))


@pytest.mark.usefixtures("sketched", "unprobed")
@IGNORE_LIGHTNING_WARNINGS
def test_from_training_to_the_page(composed: Compose, store: Path) -> None:
    defenses = DEFENSES[::3]
    for defense in defenses:
        folder = f"runs/{defense}"
        given = [f"store={store}", f"defense={defense}"]
        clean = train(composed("train", *TINY_TRAINING, *given, f"folder={folder}"))["test_accuracy"]
        robust = sweep(composed("sweep", f"checkpoint={folder}/checkpoint.pt", f"store={store}", *only("fgsm")))
        assert robust["robust_accuracy/linf/float/0"] == pytest.approx(clean, abs=1e-6)
    finding = report(composed("report", "runs=runs", "eps_levels=0.5", "resamples=20"))
    assert all(re.search(rf"{defense}: [\d.]+% \[", finding) for defense in defenses)
    page = Path("runs/report/report.html").read_text()
    assert_self_contained(page)
    assert page.count("examples for ") == len(defenses)


def test_points_tell_their_numbers_and_every_contents_entry_leads_somewhere(runs: Path, composed: Compose) -> None:
    report(composed("report", f"runs={runs}", "resamples=20"))
    page = (runs / "report" / "report.html").read_text()
    titles = re.findall(r"<g><title>([^<]+)</title>", page)
    curve = pd.read_csv(runs / "report" / "curves.csv").query("attack == 'worst' and metric == 'accuracy'")
    at_one = curve.query("defense == 'baseline' and norm == 'linf' and domain == '8bit' and eps_levels == 1")
    estimate, low, high = at_one[["estimate", "low", "high"]].to_numpy(float)[0]
    assert f"baseline, ε 1: {estimate:.1%} [{100 * low:.1f}, {100 * high:.1f}]" in titles
    assert "tip:" not in page
    sections = set(re.findall(r'<details id="(\w+)"', page))
    assert set(re.findall(r'<a href="#(\w+)">', page)) == sections
    assert {"findings", "alarms", "robustness", "operating", "pairs", "commands"} <= sections


@pytest.mark.usefixtures("sketched")
def test_false_alarms_have_a_section_and_tables_where_a_class_means_unaltered(runs: Path, composed: Compose) -> None:
    report(composed("report", f"runs={runs}", "resamples=20"))
    table = pd.read_csv(runs / "report" / "operating_points.csv").set_index(["defense", "condition", "metric"])
    page = (runs / "report" / "report.html").read_text()
    for defense in ("baseline", "gradient_regularized"):
        share = float(table["estimate"].loc[defense, "attacked", "caught_at_5"])
        assert f"{share:.1%} [" in page
    assert {"false_alarms", "caught"} <= set(pd.read_csv(runs / "report" / "roc.csv"))


@IGNORE_LIGHTNING_WARNINGS
def test_the_commands_on_the_page_make_the_same_tables_again(call: Call) -> None:
    mine = "it\\'s mine"  # as Hydra reads it
    small = [
        *("source.scenes.number=16", "source.scenes.height=96", "source.scenes.width=128", "patches.short_side=null"),
        *("patches.size=32", "patches.per_photograph=2", "patches.min_photographs=1", "patches.val=0.3"),
    ]
    quick = ["eps_levels=[0,1]", "ensemble.attacks.fmn.steps=3", "ensemble.attacks.apgd_ce.steps=3", "images=8"]
    for words in (
        ["prepare", "store=a/patches", "patches.test=0.3", "workers=1", *small],
        ["train", "store=a/patches", f"folder='a/runs/{mine}'", *TINY_TRAINING, "trainer.max_epochs=1"],
        ["sweep", f"checkpoint='a/runs/{mine}/checkpoint.pt'", "store=a/patches", "ensemble=quick", *quick],
        ["report", "runs=a/runs", "eps_levels=1", "resamples=20"],
    ):
        result = call(*words)
        assert result.returncode == 0, result.stderr
    made = call.folder / "a/runs/report"
    page = (made / "report.html").read_text()
    listed = html.unescape(re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)[0])
    again = [shlex.split(line) for line in listed.splitlines() if line.startswith("advforensics ")]
    assert [words[1] for words in again] == ["prepare", "train", "sweep", "report"]
    tables = {name: pd.read_csv(made / name) for name in ("curves.csv", "radii.csv", "operating_points.csv")}
    shutil.rmtree(call.folder / "a")
    for words in again:
        result = call(*words[1:])
        assert result.returncode == 0, result.stderr
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, pd.read_csv(made / name))


def test_the_page_opens_in_a_browser(runs: Path, composed: Compose) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser: {', '.join(BROWSERS)}")
    report(composed("report", f"runs={runs}", "resamples=20"))
    page = (runs / "report" / "report.html").absolute().as_uri()
    command = (browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom", page)
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.count('class="light') == 2
    assert shown.count("<details id=") == len(re.findall(r'<a href="#\w+">', shown)) > 8
