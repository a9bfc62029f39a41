"""`advforensics examine` and `advforensics forge`: one picture, a detector, and what it takes to fool it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from configs import TINY_DETECTOR, Compose, config
from hydra.utils import instantiate
from PIL import ExifTags, Image
from processes import BROWSERS, Call
from toys import picture as photograph

from advforensics.cli.main import as_overrides
from advforensics.detectors.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.evaluation.images import pictures_of
from advforensics.evaluation.whole_picture import as_whole_pictures
from advforensics.examine import examine
from advforensics.forge import forge
from advforensics.store.reading import PatchStore

QUICK = ("ensemble.attacks.fmn.steps=5", "ensemble.attacks.apgd_ce.steps=5", "eps_levels=[0,2,16]")


@pytest.fixture(scope="session")
def checkpoint(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a tiny detector of the store's classes, whose answers differ from picture to picture."""
    composed, opened = config("train", *TINY_DETECTOR), PatchStore(store)
    torch.manual_seed(0)
    network = build_detector(composed, opened.classes, opened.shape)
    for _ in range(20):
        network(torch.rand(8, *opened.shape))
    path = tmp_path_factory.mktemp("detector") / "checkpoint.pt"
    save_checkpoint(
        path, network, config=composed, task="toy", classes=opened.classes, shape=opened.shape, commit="abc"
    )
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.fromarray(photograph(1).pixels).save(folder / "one.jpg", quality=92)
    Image.fromarray(photograph(2).pixels).save(folder / "trip" / "two of them.png")
    (folder / "trip" / "notes.txt").write_text("hello")
    return folder


def says(checkpoint: Path, file: Path) -> str:
    """Return what the detector says of a file, asked patch by patch."""
    trained = load_checkpoint(checkpoint)
    with Image.open(file) as opened:
        green = torch.from_numpy(np.array(opened.convert("RGB"))[..., 1].copy()).float() / 255
    height, width = green.shape
    above, left = as_whole_pictures(trained, 256).detector.grid(height, width)  # type: ignore[operator]
    patches = torch.stack([green[None, y : y + 32, x : x + 32] for y in above for x in left])
    with torch.no_grad():
        return trained.classes[int(trained.detector(patches).mean(dim=0).argmax())]


def test_a_folder_is_examined_and_told_again(
    photos: Path, checkpoint: Path, store: Path, composed: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    given = composed("examine", f"picture={photos}", f"checkpoint={checkpoint}", f"store={store}", *QUICK)
    results = examine(given)
    assert [result["picture"] for result in results] == ["one.jpg", "trip/two of them.png"]
    out = Path("out/examine")
    table = pd.read_csv(out / "examined.csv").set_index("picture")
    assert "not an image" in table["reason"]["trip/notes.txt"]
    for result in results:
        folder = out / result["picture"]
        assert json.loads((folder / "result.json").read_text()) == result
        assert result["verdict"] == table["verdict"][result["picture"]] == says(checkpoint, photos / result["picture"])
        assert sum(result["probabilities"].values()) == pytest.approx(1)
        assert result["calibrated_on"].endswith("photographs")
        assert result["unlike_training"]
        assert result["patches"] == 6
        files = [change for change in result["changes"].values() if change["file"]]
        assert files, "nothing was forged, so this test would see nothing"
        for change in files:  # what counts is the file, read by another library
            assert says(checkpoint, folder / change["file"]) == change["becomes"] != result["verdict"]
        png = result["changes"]["png"]
        if png["levels"]:
            with Image.open(photos / result["picture"]) as before, Image.open(folder / png["file"]) as after:
                change = np.abs(np.array(before.convert("RGB")).astype(int) - np.array(after))
            assert change.max() == png["levels"] <= 16
    told = capsys.readouterr().out
    assert "smallest change found" in told
    assert "WARNING: Unlike the training pictures" in told

    # Called again, it tells the same and does nothing.
    pages = {path: path.stat().st_mtime_ns for path in out.rglob("page.html")}
    given.json = True
    assert examine(given) == results
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == results
    assert {path: path.stat().st_mtime_ns for path in out.rglob("page.html")} == pages
    given.eps_levels = [0, 1]
    assert examine(given) != results


def test_a_function_is_only_asked(photos: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    given = (
        *("target=callable", "target.function._target_=toys.brightness", "target.labels=[a,b,c]", "eps_levels=[0,8]"),
        "ensemble.without_gradients.attacks.square.build.n_queries=5",
    )
    (result,) = examine(composed("examine", f"picture={photos / 'one.jpg'}", *given))
    assert result["verdict"] in "abc"
    assert (result["patches"], result["white_box"], result["calibrated_on"]) == (None, False, None)
    assert "not calibrated" in Path("out/examine/one.jpg/page.html").read_text()


def test_a_file_that_goes_through_a_chain_is_attacked_as_a_whole(
    photos: Path, checkpoint: Path, composed: Compose
) -> None:
    Image.fromarray(np.tile(photograph(5).pixels, (2, 2, 1))).save(photos / "large.png")
    given = [f"picture={photos}/large.png", f"checkpoint={checkpoint}", "ensemble=chain", *QUICK[:1]]
    given += ["eps_levels=[0,16,64]", "ensemble.attacks.apgd_ce.steps=15"]
    (result,) = examine(composed("examine", *given))
    assert set(result["changes"]) == {"float", "png", "jpeg", "chain"}
    changes, folder = result["changes"], Path("out/examine/large.png")
    for name in ("png", "chain"):  # both write PNG files
        assert changes[name]["file"], "nothing was forged, so this test would see nothing"
        with Image.open(folder / changes[name]["file"]) as opened:
            forged = pictures_of([np.array(opened)])[0]
        with Image.open(photos / "large.png") as opened:
            original = pictures_of([np.array(opened)])[0]
        links = composed("examine", *given).ensemble.domains.chain
        seen = instantiate(links, folder=".").judged(original, forged) if name == "chain" else forged
        detector = as_whole_pictures(load_checkpoint(checkpoint), 256).detector
        with torch.no_grad():
            answer = int(detector(seen[None]).argmax())
        assert load_checkpoint(checkpoint).classes[answer] == changes[name]["becomes"] != result["verdict"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("picture=nowhere.jpg", "there is no picture and no folder .*nowhere.jpg: give picture=PATH"),
        ("picture=photos/trip/notes.txt", "holds no picture that can be examined: not an image"),
        ("store=nowhere", "no patch store in nowhere"),
        ("checkpoint=nowhere.pt", "no checkpoint nowhere.pt"),
        ("picture=small.png", "20 x 60 pixels is too small: a patch has 32 x 32"),
    ],
)
def test_mistakes_are_told(given: str, message: str, photos: Path, checkpoint: Path, composed: Compose) -> None:
    Image.new("RGB", (20, 60)).save("small.png")
    overrides = {"picture": f"{photos}/one.jpg", "checkpoint": str(checkpoint), "store": "null"}
    overrides |= dict([given.split("=")])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        examine(composed("examine", *(f"{key}={value}" for key, value in overrides.items()), *QUICK))


def test_a_store_of_other_classes_is_refused(photos: Path, checkpoint: Path, store: Path, composed: Compose) -> None:
    other = Path("other.pt")
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "classes": ["x", "y", "z"]}, other)
    with pytest.raises(ValueError, match="give the store that it was trained on"):
        examine(composed("examine", f"picture={photos}/one.jpg", f"checkpoint={other}", f"store={store}"))


def test_a_path_needs_no_name_and_may_have_any(call: Call, photos: Path, checkpoint: Path) -> None:
    path = photos / "it's 100% (mine), {really}.jpg"
    shutil.copy(photos / "one.jpg", path)
    assert as_overrides("examine", ["a.jpg", "--json", "seed=1"]) == ["picture='a.jpg'", "json=true", "seed=1"]
    assert as_overrides("report", ["a.jpg"]) == ["a.jpg"]
    assert as_overrides("forge", ["seed=1", "--config-dir", "mine"]) == ["seed=1", "--config-dir", "mine"]
    assert as_overrides("examine", []) == []
    odd = photos / "a=b.jpg"
    shutil.copy(photos / "one.jpg", odd)
    assert as_overrides("examine", [str(odd), "--help"]) == [f"picture='{odd}'", "--help"]
    result = call("examine", str(path), "--json", f"checkpoint={checkpoint}", *QUICK)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["picture"] == path.name


@pytest.mark.parametrize("name", ["forged.png", "forged.jpg"])
def test_a_forged_file_is_taken_for_the_class_that_is_wanted(
    name: str, photos: Path, checkpoint: Path, composed: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    file = photos / "one.jpg"
    wanted = next(other for other in load_checkpoint(checkpoint).classes if other != says(checkpoint, file))
    given = [f"picture={file}", f"checkpoint={checkpoint}", f"out=new/{name}", "eps_levels=24"]
    given.append("ensemble.attacks.apgd_targeted.steps=15")
    result = forge(composed("forge", *given, f"wanted={wanted}"))
    out = Path("new") / name
    assert says(checkpoint, out) == wanted == result["forged_verdict"]
    with Image.open(file) as before, Image.open(out) as after:
        assert "adversarial example" in after.getexif()[ExifTags.Base.ImageDescription]
        change = np.abs(np.array(before).astype(int) - np.array(after))
    if name.endswith("png"):
        assert 0 < change.max() == result["levels"] <= 24
    assert wanted in capsys.readouterr().out
    assert [path.name for path in Path("new").iterdir()] == [name]
    with pytest.raises(FileExistsError, match="there is such a file already"):
        forge(composed("forge", *given, f"wanted={wanted}"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["wanted=cat"], "wanted=cat: the detector knows pristine, blur, larger"),
        (["out=forged.gif"], "ends with .png or .jpg"),
        (["picture=photos"], "is a folder: give one picture"),
        (["picture=photos/trip/notes.txt"], "cannot be used: not an image"),
        (["eps_levels=0"], "no change of up to 0 levels was found .* try a larger eps_levels"),
    ],
)
def test_what_cannot_be_forged_leaves_no_file(
    given: list[str], message: str, photos: Path, checkpoint: Path, composed: Compose
) -> None:
    verdict = says(checkpoint, photos / "one.jpg")
    wanted = next(other for other in load_checkpoint(checkpoint).classes if other != verdict)
    usual = [f"checkpoint={checkpoint}", f"picture={photos}/one.jpg", f"wanted={wanted}", "out=forged.png"]
    kept = [told for told in usual if told.split("=")[0] not in {new.split("=")[0] for new in given}]
    with pytest.raises(ValueError, match=message):
        forge(composed("forge", *kept, *given))
    assert not Path("forged.png").exists()
    with pytest.raises(ValueError, match="there is nothing to forge"):
        forge(composed("forge", *usual[:2], f"wanted={verdict}", "out=forged.png"))


def test_the_page_opens_in_a_browser(photos: Path, checkpoint: Path, composed: Compose, tmp_path: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser: {', '.join(BROWSERS)}")
    (result,) = examine(composed("examine", f"picture={photos}/one.jpg", f"checkpoint={checkpoint}", *QUICK))
    page = (tmp_path / "out/examine/one.jpg/page.html").as_uri()
    command = (browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom", page)
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"one.jpg: {result['verdict']}" in shown
    assert len(re.findall(r'src="data:image/', shown)) >= 2
    assert "http://" not in shown
    assert "https://" not in shown
