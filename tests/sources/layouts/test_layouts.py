"""Each layout reads the tree of its data set, with irregular names, and shows it in the error for another folder."""

import inspect
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hydra.utils import instantiate
from odd_files import noise, saved
from omegaconf import OmegaConf
from PIL import Image
from toys import read_all

from advforensics.cli.main import config_dir
from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout
from advforensics.sources.layouts.cifake import Cifake
from advforensics.sources.layouts.dresden import Dresden
from advforensics.sources.layouts.exif import Exif
from advforensics.sources.layouts.folders import Folders
from advforensics.sources.layouts.forchheim import Forchheim
from advforensics.sources.layouts.forensynths import Forensynths
from advforensics.sources.layouts.genimage import Genimage
from advforensics.sources.layouts.icl import Icl
from advforensics.sources.layouts.synthbuster import Synthbuster
from advforensics.sources.layouts.vision import Vision
from advforensics.sources.photos import Photos

A6 = "D16_Samsung_GalaxyA6_2"
S3 = "D01_Samsung_GalaxyS3Mini"
CASES: list[tuple[Layout, dict[str, Annotation | str]]] = [
    (
        Folders({"fake": "generated"}, scene=r"burst-(\d+)"),
        {
            "real/a.jpg": Annotation("real"),
            "fake/deep/burst-7 (2).png": Annotation("generated", "7"),
            "a.jpg": "not in the folder of a class",
        },
    ),
    (
        Cifake(),
        {
            "train/REAL/0000.jpg": Annotation("real", own_split="train"),
            "DATASET/test/FAKE/104 (6).jpg": Annotation("generated", own_split="test"),
            "0000.jpg": "not in train or test, REAL or FAKE",
        },
    ),
    (
        Forensynths(),
        {
            "progan/airplane/0_real/1.png": Annotation("real", "progan/airplane/1"),
            "test/stargan/1_fake/1.png": Annotation("generated", "test/stargan/1", own_split="test"),
            "dataset/train/train/0_real/1.png": Annotation("real", "dataset/train/train/1", own_split="train"),
            "val/train/0_real/1.png": Annotation("real", "val/train/1", own_split="val"),
            "progan/train/0_real/1.png": Annotation("real", "progan/train/1"),  # pictures of trains
            "train/0_real/1.png": Annotation("real", "train/1"),
            "progan/airplane/1.png": "not in a folder 0_real or 1_fake",
        },
    ),
    (
        Genimage(),
        {
            "BigGAN/imagenet_ai_0419_biggan/val/nature/n01440764_10026.JPEG": Annotation("real", own_split="test"),
            "Midjourney/train/ai/0_midjourney_1.png": Annotation("generated", own_split="train"),
            "Midjourney/ai/1.png": "not in train or val, ai or nature",
        },
    ),
    (
        Synthbuster(),
        {
            "dalle2/r000da54ft.png": Annotation("generated", "r000da54ft"),
            "RAISE-1k/r000da54ft.TIF": Annotation("real", "r000da54ft"),
            "synthbuster/real_RAISE_1k/r0a2e85f0t.png": Annotation("real", "r0a2e85f0t"),
            "synthbuster/stable-diffusion-1-3/r0a2e85f0t.png": Annotation("generated", "r0a2e85f0t"),
            "sd3_large/r0a2e85f0t.png": "not in the folder of a generator or of RAISE",
            "r000da54ft.png": "not in the folder of a generator or of RAISE",
        },
    ),
    (
        Dresden(),
        {
            "Agfa_DC-504_0_1.JPG": Annotation("Agfa_DC-504", "Agfa_DC-504_0 0", "Agfa_DC-504_0"),
            "Nikon/Nikon_D200_1_17226.JPG": Annotation("Nikon_D200", "Nikon_D200_1 1722", "Nikon_D200_1"),
            "Nikon_D200/flatfield/Nikon_D200_0_15871.JPG": "flat field",
            "IMG_0001.JPG": "its name is not brand_model_device_number",
        },
    ),
    (
        Dresden(devices=True),
        {"Canon_Ixus55_0_2643.JPG": Annotation("Canon_Ixus55_0", "Canon_Ixus55_0 264", "Canon_Ixus55_0")},
    ),
    (
        Vision(kinds=("nat", "natWA")),
        {
            f"{S3}/images/nat/D01_I_nat_0001.jpg": Annotation("Samsung_GalaxyS3Mini", "D01 1", S3),
            f"VISION/{S3}/images/natWA/D01_I_natWA_0001.jpg": Annotation("Samsung_GalaxyS3Mini", "D01 1", S3),
            f"{S3}/images/flat/D01_I_flat_0001.jpg": "flat is not in source.layout.kinds",
            f"{S3}/videos/flat/D01_V_flat_0001.mp4": "not in DEVICE/images/KIND",
        },
    ),
    (
        Forchheim(),
        {
            f"{A6}/orig/D16_img_orig_0001.jpg": Annotation("Samsung_GalaxyA6", "scene 1", A6),
            f"{A6}/facebook/D16_img_facebook_0001.jpg": "facebook is not in source.layout.platforms",
            "D01_Motorola_E3_1/orig/D01_img_orig_0063.jpg": Annotation("Motorola_E3", "scene 63", "D01_Motorola_E3_1"),
            "inspection/check_devices/helper.jpg": "not DEVICE/PLATFORM/DEVICE_img_PLATFORM_SCENE",
            "D01_img_orig_0001.jpg": "not DEVICE/PLATFORM/DEVICE_img_PLATFORM_SCENE",
        },
    ),
    (
        Forchheim(label="platform", platforms=None),
        {f"{A6}/WhatsApp/D16_img_WhatsApp_0012.jpg": Annotation("whatsapp", "scene 12", A6)},
    ),
    (
        Icl(),
        {
            "SingleCaptureImages/D40/DS-05-0015-S%D40.JPG": Annotation("real", "d40 15", "D40"),
            "SingleCaptureImages/D40/not used/DS-05-0015-S%D40.JPG": "in a folder `not used`",
            "SingleCaptureImages/EOS600D/DS-05-0005-S%600D.JPG": Annotation("real", "600d 5", "EOS600D"),
            "single capture images/a/ds-05-002-s%a.jpg": Annotation("real", "a 2", "a"),
            "RecapturedImages/600D/DS-05-R%EOS600D%EA232WMI%D40-015.png": Annotation("recaptured", "d40 15", "600D"),
            "RecapturedImages/D70s/DS-05-R%D70S%EA232WMI%EOS600D-005.png": Annotation("recaptured", "600d 5", "D70s"),
            "readme.txt": "not in SingleCaptureImages or RecapturedImages, or not named DS-...",
        },
    ),
]


@pytest.mark.parametrize(("layout", "annotations"), CASES, ids=lambda value: type(value).__name__)
def test_paths_give_annotations(layout: Layout, annotations: dict[str, Annotation | str]) -> None:
    assert {path: layout.annotate_path(PurePosixPath(path)) for path in annotations} == annotations


@pytest.mark.parametrize(("layout", "annotations"), CASES, ids=lambda value: type(value).__name__)
def test_a_replica_of_the_tree_is_read(
    layout: Layout, annotations: dict[str, Annotation | str], tmp_path: Path
) -> None:
    for seed, name in enumerate(annotations):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(saved(Image.fromarray(noise(seed=seed)), "PNG" if "png" in name else "JPEG"))
    pictures, rejected = read_all(Photos(tmp_path, 8, 10**6, layout))
    assert {picture.name: picture.annotation for picture in pictures} | {
        rejection.name: rejection.reason for rejection in rejected
    } == annotations


CONFIGS = {path.stem: OmegaConf.load(path) for path in sorted((config_dir() / "source").glob("*.yaml"))}
SHIPPED = {name: layout for name, config in CONFIGS.items() if (layout := OmegaConf.select(config, "layout"))}


def test_every_shipped_layout_is_tested() -> None:
    tested = {type(layout) for layout, _ in CASES} | {Exif}  # reads EXIF: see test_exif.py
    assert {type(instantiate(layout)) for layout in SHIPPED.values()} == tested


@pytest.mark.parametrize(
    "name", sorted(SHIPPED.keys() - {"exif"})
)  # accepts every tree but flat fields: see test_exif.py
def test_the_error_for_a_wrong_folder_shows_the_tree(name: str, tmp_path: Path) -> None:
    layout = instantiate(SHIPPED[name])
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "holiday.png")
    with pytest.raises(
        FileNotFoundError, match=r"none of the 1 files in .* lies where source.layout expects"
    ) as raised:
        Photos(tmp_path, 8, 10**6, layout)
    tree = inspect.getdoc(layout)
    assert tree
    assert "The tree::\n" in tree
    assert tree in str(raised.value)
