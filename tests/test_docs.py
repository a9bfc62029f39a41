"""What README and pages show: commands compose or exist, the running example runs, every link leads to a file."""

import doctest
import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from configs import IGNORE_LIGHTNING_WARNINGS, TINY_DETECTOR, Compose, config
from dvc.cli.parser import get_main_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from test_configs import MISSING, REQUIRED, assert_callable
from toys import brightness

from advforensics.cli.main import COMMANDS, as_overrides, config_dir
from advforensics.cli.pipeline import settings

PROJECT = config_dir().parent
MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")  # in the text
RUNNING = "out/first"  # in the commands of the example that is run for real
SMALL = {  # what makes its commands quick
    "prepare": (
        *("source.scenes.number=16", "source.scenes.height=96", "source.scenes.width=128", "patches.short_side=null"),
        *("patches.size=32", "patches.per_photograph=2", "patches.min_photographs=1", "patches.val=0.3"),
        "patches.test=0.3",
    ),
    "train": (*TINY_DETECTOR, "trainer.accelerator=cpu", "trainer.max_epochs=1"),
    "sweep": ("images=16", "eps_levels=[0,0.5,1]", "ensemble.attacks.fmn.steps=5", "ensemble.attacks.apgd_ce.steps=5"),
    "transfer": ("images=16", "attack.build.steps=2"),
    "certify": ("images=16",),
    "audit": ("images=8", "probed=4", "ensemble.without_gradients.attacks.square.build.n_queries=10"),
    "examine": ("eps_levels=[0,2]", "ensemble.attacks.fmn.steps=5", "ensemble.attacks.apgd_ce.steps=5"),
    "forge": ("eps_levels=64",),
    "export": (),
    "report": ("resamples=50",),
}


def nav(node: object) -> Iterator[str]:
    """Yield the pages of mkdocs.yml in their order."""
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nav(child)


DOCS = [f"docs/{name}" for name in nav(yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"])]
PAGES = ["README.md", *DOCS]


def text(page: str) -> str:
    return (PROJECT / page).read_text()


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Return language, options and content of every fenced block of a page."""
    return re.findall(r"^```(\w*) ?(.*)\n((?:.*\n)*?)```$", text(page), re.MULTILINE)


def commands(*programs: str) -> list[list[str]]:
    """Return the words of every command of these programs that a page shows, in the order of pages."""
    shown = [content for page in PAGES for language, _, content in blocks(page) if language == "bash"]
    lines = [line for content in shown for line in content.replace("\\\n", "").splitlines()]
    split = [words for line in lines if (words := shlex.split(line, comments=True))]
    return [list(words) for words in dict.fromkeys(map(tuple, split)) if words[0] in programs or not programs]


def jobs(words: list[str], folder: Path) -> list[tuple[str, ...]]:
    """Return the overrides of each job of an ``advforensics`` command; config files of its own lie in the folder."""
    rest = as_overrides(words[1], words[2:])
    if "--config-dir" in rest:
        at = rest.index("--config-dir")
        rest[at : at + 2] = [f"hydra.searchpath=[file://{folder / rest[at + 1]}]"]
    if "-m" not in rest:
        return [tuple(rest)]
    rest.remove("-m")
    parsed = OverridesParser.create().parse_overrides(rest)
    values = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [told]
        for one, told in zip(parsed, rest, strict=True)
    ]
    return list(product(*values))


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the YAML files that pages show, and make the package that their commands name."""
    for page in PAGES:
        for language, options, content in blocks(page):
            if language == "yaml":
                path = tmp_path / shlex.split(options)[0].removeprefix("title=")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
    package = ModuleType("mypackage")
    vars(package).update(Net=lambda **options: None, ask=brightness, score=score)
    monkeypatch.setitem(sys.modules, "mypackage", package)
    for name in ("real", "fake"):
        (tmp_path / "photos" / "labelled" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 128, (32, 40, 3)) + 100 * (name == "fake")
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / "labelled" / name / f"{number}.png")


def score(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of a fake, by brightness."""
    return np.asarray(np.clip(2 * images.mean(axis=(1, 2, 3)) - 0.5, 0, 1), dtype=np.float32)


def test_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= 120


def test_every_page_is_in_the_navigation() -> None:
    assert sorted(DOCS) == sorted(f"docs/{path.name}" for path in (PROJECT / "docs").iterdir())


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_every_relative_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for link, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", text(page)):
        path = (PROJECT / page).parent / link if link else PROJECT / page
        assert path.is_file(), link
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_no_block_escapes_these_tests(page: str) -> None:
    assert {language for language, *_ in blocks(page)} <= {"bash", "pycon", "text", "yaml"}


def test_commands_are_those_of_known_programs() -> None:
    assert {words[0] for words in commands()} <= {"advforensics", "dvc", "make", "source"}
    assert {words[1] for words in commands("advforensics")} == set(COMMANDS)
    assert {words[1] for words in commands("make")} == TARGETS


@pytest.mark.usefixtures("own_files")
@pytest.mark.parametrize("words", commands("advforensics"), ids=" ".join)
def test_every_advforensics_command_composes(words: list[str], composed: Compose, tmp_path: Path) -> None:
    for overrides in jobs(words, tmp_path):
        config = composed(words[1], *overrides)
        if words[1] == "train":  # by default Hydra's own folder, which only a run has
            config.folder = "."
        assert not OmegaConf.missing_keys(config)
        assert_callable(config)


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_every_make_command_exists_and_its_variables_compose(
    words: list[str], composed: Compose, tmp_path: Path
) -> None:
    variables = dict(word.split("=", 1) for word in words[2:])
    assert words[1] in re.findall(r"[\w-]+", MAKEFILE.partition(".PHONY:")[2].splitlines()[0])
    assert all(f"$({name})" in MAKEFILE for name in variables)
    photos = str(tmp_path) if "PHOTOS" in variables else None
    source = str(settings(photos, variables.get("PREPARE", ""))["source"])
    assert not OmegaConf.missing_keys(composed("prepare", *shlex.split(source)))


@pytest.mark.parametrize("words", commands("dvc"), ids=" ".join)
def test_every_dvc_command_exists(words: list[str]) -> None:
    assert get_main_parser().parse_args(words[1:]).func


def test_make_docs_installs_what_pyproject_names() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert all(f"'{package}'" in MAKEFILE for package in project["optional-dependencies"]["docs"])


@cache
def keys(command: str) -> set[str]:
    """Return the outermost names of a command's config."""
    return {str(key) for key in config(command, *REQUIRED[command])} | {"experiment"}


def fits(overrides: list[str], composed: Compose) -> bool:
    """Tell whether overrides compose with any command."""
    names = {re.split(r"[./=]", override.lstrip("+~").rpartition("@")[2])[0] for override in overrides}
    missing = [
        more for override in overrides for more in MISSING.get(override, MISSING.get(override.partition("=")[2], []))
    ]
    missing = [more for more in missing if more.partition("=")[0] not in {told.partition("=")[0] for told in overrides}]
    for command in COMMANDS:
        if names <= keys(command):
            try:
                composed(command, *REQUIRED[command], *missing, *overrides)
            except HydraException:
                continue
            return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_overrides_in_the_text_compose(page: str, composed: Compose) -> None:
    prose = re.sub(r"^```(?:.*\n)*?```$", "", text(page), flags=re.MULTILINE)
    spans = [span for span in CODE.findall(prose) if re.match(r"'?[+~]?[a-z_]+[\w.@/]*=\S|~\w", span)]
    refused = [span for span in spans if not fits(shlex.split(span), composed)]
    assert not refused


def test_every_alarm_is_explained() -> None:
    code = "".join(path.read_text() for path in (PROJECT / "src/advforensics/alarms").glob("*.py"))
    names = set(re.findall(r'(?:Alarm|_stronger)\(\s*"(\w+)"', code))
    listed = re.findall(r"^\| `(\w+)` \|", text("docs/report.md").partition("## Alarms")[2], re.MULTILINE)
    assert sorted(listed) == sorted(names)
    assert len(names) > 20


def run(command: str, config: DictConfig) -> None:
    getattr(importlib.import_module(f"advforensics.{command}"), command)(config)


@IGNORE_LIGHTNING_WARNINGS
@pytest.mark.usefixtures("own_files", "sketched", "unprobed", "unscored")
def test_the_running_example_runs_and_its_tables_are_explained(composed: Compose, tmp_path: Path) -> None:
    example = [words for words in commands("advforensics") if any(RUNNING in word for word in words)]
    assert {words[1] for words in example} == set(COMMANDS)
    for words in example:
        for overrides in jobs(words, tmp_path):
            run(words[1], composed(words[1], *overrides, *SMALL[words[1]]))
    assert Path("out/first/runs/report/brackets.csv").is_file()
    explained = set(CODE.findall(text("docs/tables.md")))
    for path in Path("out/first").rglob("*"):
        if path.suffix in (".csv", ".parquet") and path.stem != "robust_accuracy":  # a column for each defence
            columns = pq.read_schema(path).names if path.suffix == ".parquet" else list(pd.read_csv(path, nrows=0))
            assert set(columns) <= explained, path
        if path.is_file() and path.suffix not in (".png", ".svg", ".npy"):
            name = "metrics/" if path.parent.name == "metrics" else path.name  # a file for each defence
            assert name in text("docs/tables.md") or name == "report.html"
    shown = [content for page in PAGES for language, _, content in blocks(page) if language == "pycon"]
    for number, content in enumerate(shown):
        example_test = doctest.DocTestParser().get_doctest(content, {}, f"block {number}", None, None)
        assert doctest.DocTestRunner().run(example_test).failed == 0
