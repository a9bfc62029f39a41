"""``report(cfg)``: from sample tables to one page that needs nothing beside it."""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from tables import sample_table
from toys import DEFENSES, QUIET, TINY_TRAINING, Compose, only

from advforensics.report import report
from advforensics.robustness.curves import curves
from advforensics.robustness.samples import read_samples, write_samples
from advforensics.sweep import sweep
from advforensics.train import train

CLASSES = ("pristine", "blur", "noise")
FACTS = ["task", "detector", "defense", "seed", "checkpoint", "commit"]


def made_up_run(folder: Path, defense: str, seed: int) -> None:
    """Write what training and sweep leave of a detector."""
    rows = sample_table(defenses=[defense], seeds=[seed], domains=("float", "8bit"))
    facts: dict[str, Any] = {**rows[FACTS].iloc[0]} | {"seed": seed, "checkpoint": f"{defense}{seed}".rjust(64, "0")}
    (folder / "sweep").mkdir(parents=True)
    write_samples(folder / "sweep" / "samples.parquet", rows.drop(columns=FACTS), facts, CLASSES)
    Figure().savefig(folder / "sweep" / "gallery.png")
    course = {"epoch": [1, 2], "train_loss": [2.0, 1.0], "val_loss": [2.0, 1.5], "val_accuracy": [0.3, 0.6]}
    pd.DataFrame(course).to_csv(folder / "training.csv", index=False)
    costs = {"train_seconds": 12.0, "train_forward_images": 3000.0, "train_backward_images": 2000.0}
    (folder / "metrics.json").write_text(json.dumps(costs))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for defense in ("baseline", "gradient_regularized"):
        made_up_run(tmp_path / "runs" / f"{defense}-1", defense, 1)
    return tmp_path / "runs"


def links(page: str) -> list[str]:
    """Return everything that a page would load or lead to."""
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


def test_the_page_says_it_all_by_itself(runs: Path, composed: Compose) -> None:
    finding = report(composed("report", f"runs={runs}", "eps_levels=0.5", "resamples=50"))
    page = (runs / "report" / "report.html").read_text()
    assert_self_contained(page)
    assert "<svg" in page
    text = " ".join(page.split())
    for words in (*CLASSES, "72 test patches from 12 photographs", "baseline", "gradient_regularized", "torch "):
        assert words in text
    assert finding.split(". ")[0] in page
    assert (runs / "report" / "finding.txt").read_text() == finding + "\n"


def test_the_finding_has_the_numbers_of_the_curves(runs: Path, composed: Compose) -> None:
    finding = report(composed("report", f"runs={runs}", "eps_levels=0.5", "resamples=50"))
    samples = pd.concat([read_samples(path) for path in sorted(runs.glob("*/sweep/samples.parquet"))])
    table = curves(samples, resamples=50)
    at = (table["attack"] == "worst") & (table["metric"] == "accuracy") & (table["domain"] == "float")
    metrics = json.loads((runs / "report" / "metrics.json").read_text())
    for defense, rows in table[at].groupby("defense"):
        clean, robust = (rows[rows["eps_levels"] == eps].iloc[0] for eps in (0, 0.5))
        for point in (clean, robust):
            assert f"{point.estimate:.1%} [{100 * point.low:.1f}, {100 * point.high:.1f}]" in finding
        assert metrics[str(defense)]["clean"] == pytest.approx(clean.estimate, abs=1e-4)
        assert metrics[str(defense)]["robust_float_0.5"] == pytest.approx(robust.estimate, abs=1e-4)
    assert "points" in finding
    assert "over baseline" in finding


def test_figures_and_tables_are_files_too(runs: Path, composed: Compose) -> None:
    report(composed("report", f"runs={runs}", f"folder={runs / 'elsewhere'}", "eps_levels=1", "resamples=50"))
    files = {path.name for path in (runs / "elsewhere").iterdir()}
    assert {"report.html", "finding.txt", "curves.csv", "robust_accuracy.csv", "metrics.json", "figures"} <= files
    figures = {path.name for path in (runs / "elsewhere" / "figures").iterdir()}
    for name in ("robustness-linf-float", "robustness-linf-8bit", "attacks-baseline", "confusion-baseline", "training"):
        assert {f"{name}.png", f"{name}.svg"} <= figures
    plotted = pd.read_csv(runs / "elsewhere" / "robust_accuracy.csv")
    assert plotted["eps_levels"].tolist() == [0, 0.5, 1, 2]
    assert {"baseline", "gradient_regularized"} <= set(plotted)


def test_a_collapsed_detector_is_called_so(runs: Path, composed: Compose) -> None:
    path = runs / "gradient_regularized-1" / "sweep" / "samples.parquet"
    rows = read_samples(path)
    facts: dict[str, Any] = {**rows[FACTS].iloc[0]} | {"seed": 1}
    rows = rows.drop(columns=FACTS).assign(predicted=1, correct=rows["label"] == 1)
    write_samples(path, rows, facts, CLASSES)
    finding = report(composed("report", f"runs={runs}", "resamples=50"))
    assert "COLLAPSED: it gives one answer to 100%" in finding
    assert finding.count("COLLAPSED") == 1


@pytest.mark.parametrize(
    ("overrides", "message"), [(["eps_levels=0.3"], "radii that were swept"), (["reference=none"], "'none'")]
)
def test_what_was_not_swept_cannot_be_reported(
    runs: Path, composed: Compose, overrides: Sequence[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        report(composed("report", f"runs={runs}", "resamples=50", *overrides))


def test_without_sweeps_there_is_no_report(composed: Compose, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="advforensics sweep checkpoint="):
        report(composed("report", f"runs={tmp_path}"))


@QUIET
def test_from_training_to_the_page(composed: Compose, store: Path) -> None:
    for defense in DEFENSES:
        folder = f"runs/{defense}"
        given = [f"store={store}", f"defense={defense}"]
        clean = train(composed("train", *TINY_TRAINING, *given, f"folder={folder}"))["test_accuracy"]
        robust = sweep(composed("sweep", f"checkpoint={folder}/checkpoint.pt", f"store={store}", *only("fgsm")))
        assert robust["robust_accuracy/linf/float/0"] == pytest.approx(clean, abs=1e-6)
    finding = report(composed("report", "runs=runs", "eps_levels=0.5", "resamples=20"))
    assert all(re.search(rf"{defense}: [\d.]+% \[", finding) for defense in DEFENSES)
    page = Path("runs/report/report.html").read_text()
    assert_self_contained(page)
    assert page.count("examples for ") == len(DEFENSES)
