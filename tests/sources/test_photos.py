"""The source ``photos``: any folder, exact pixels, a reason for every rejected file."""

import hashlib
import os
import warnings
import weakref
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hydra.utils import instantiate
from numpy.typing import NDArray
from odd_files import noise, oriented, png, png_chunk, saved, tiff, write_odd_files
from omegaconf import OmegaConf
from PIL import Image
from toys import read_all

from advforensics.sources.base import Picture, Rejection
from advforensics.sources.photos import Photos


def read(folder: Path, content: bytes, name: str = "picture") -> NDArray[np.uint8]:
    """Return the pixels of a file, which must be accepted."""
    (folder / name).write_bytes(content)
    pictures, rejected = read_all(Photos(folder, min_size=1))
    assert rejected == []
    assert len(pictures) == 1
    return pictures[0].pixels


def grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([values] * 3)


def rounded(deep: NDArray[Any]) -> NDArray[np.uint8]:
    return np.round(deep / 257).astype(np.uint8)


def test_folder_of_odd_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    expected = write_odd_files(tmp_path)
    for name, reason in expected.items():
        if reason and reason.startswith("duplicate"):
            expected[name] = None  # `build` rejects these
    source = Photos(tmp_path, min_size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures, rejected = read_all(source)
    assert len(source) == len(expected) == len(pictures) + len(rejected)
    assert [picture.name for picture in pictures] == [name for name, reason in expected.items() if reason is None]
    assert [rejection.name for rejection in rejected] == [name for name, reason in expected.items() if reason]
    for rejection in rejected:
        reason = expected[rejection.name]
        assert reason is not None
        assert rejection.reason.startswith(reason), rejection
        assert "\n" not in rejection.reason
    for picture in pictures:
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.ndim == 3
        assert picture.pixels.shape[2] == 3
        assert picture.pixels.flags.writeable
        assert picture.pixels.flags.c_contiguous
        assert picture.content == picture.group == hashlib.sha256((tmp_path / picture.name).read_bytes()).hexdigest()
    output = capfd.readouterr()
    assert output.out == output.err == ""


def test_every_iteration_gives_the_same_pictures(tmp_path: Path) -> None:
    write_odd_files(tmp_path)
    source = Photos(tmp_path, min_size=8)
    (first, first_rejected), (second, second_rejected) = read_all(source), read_all(source)
    assert [(a.name, a.content) for a in first] == [(b.name, b.content) for b in second]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))
    assert first_rejected == second_rejected


def test_names_are_sorted_as_paths_below_the_folder(tmp_path: Path) -> None:
    for seed, name in enumerate(["b.png", "a/z.png", "B.png", "a.png", "a-1/c.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(saved(Image.fromarray(noise(seed=seed)), "PNG"))
    pictures, _ = read_all(Photos(tmp_path, 1))
    assert [picture.name for picture in pictures] == ["B.png", "a-1/c.png", "a.png", "a/z.png", "b.png"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_lossless_rgb_is_exact(tmp_path: Path, kind: str) -> None:
    assert np.array_equal(read(tmp_path, saved(Image.fromarray(noise()), kind, lossless=True)), noise())


def test_jpeg_is_what_the_decoder_gives(tmp_path: Path) -> None:
    content = saved(Image.fromarray(noise()), "JPEG", quality=90)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    assert np.abs(read(tmp_path, content).astype(int) - decoded).max() <= 3  # another build of the same decoder


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_is_exact(tmp_path: Path, compression: str) -> None:
    content = saved(Image.fromarray(noise()), "TIFF", compression=compression)
    assert np.array_equal(read(tmp_path, content), noise())


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, saved(Image.fromarray(noise(1)), "PNG")), grey(noise(1)))


def test_black_and_white(tmp_path: Path) -> None:
    bits = noise(1) > 127
    assert np.array_equal(read(tmp_path, saved(Image.fromarray(bits), "PNG")), grey(bits.astype(np.uint8) * 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped_and_colours_stay(tmp_path: Path, kind: str) -> None:
    rgba = noise(4)
    content = saved(Image.fromarray(rgba), kind, lossless=True, exact=True)
    assert np.array_equal(read(tmp_path, content), rgba[..., :3])


def test_grey_alpha(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, png(noise(2))), grey(noise(2)[..., 0]))


@pytest.mark.parametrize("options", [{}, {"transparency": 3}, {"transparency": bytes(range(0, 256, 16))}])
def test_palette(tmp_path: Path, options: dict[str, Any]) -> None:
    colours = noise(seed=5).reshape(-1, 3)[:16]
    indices = (noise(1) % 16).astype(np.uint8)
    image = Image.fromarray(indices).convert("L")
    image.putpalette(colours.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read(tmp_path, saved(image, "PNG", **options)), colours[indices])


def test_cmyk_without_black_is_the_complement(tmp_path: Path) -> None:
    cmyk = noise(4)
    cmyk[..., 3] = 0
    image = Image.frombytes("CMYK", (14, 10), cmyk.tobytes())
    assert np.array_equal(read(tmp_path, saved(image, "TIFF")), 255 - cmyk[..., :3])


def test_16_bit_values_are_rounded(tmp_path: Path) -> None:
    every_value = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = grey(rounded(every_value))
    assert expected[0, 128, 0] == 0
    assert expected[0, 129, 0] == 1  # the first value nearer to 257 than to 0
    assert np.array_equal(read(tmp_path, png(every_value)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff(tmp_path: Path, order: Literal["<", ">"]) -> None:
    deep = noise(1, np.uint16)
    assert np.array_equal(read(tmp_path, tiff(deep, 1, order)), grey(rounded(deep)))
    deep = noise(4, np.uint16)
    assert np.array_equal(read(tmp_path, tiff(deep[..., :3], 2, order)), rounded(deep[..., :3]))
    assert np.array_equal(read(tmp_path, tiff(deep, 2, order, alpha=True)), rounded(deep[..., :3]))


def test_16_bit_tiff_in_which_white_is_zero(tmp_path: Path) -> None:
    deep = noise(1, np.uint16)
    assert np.array_equal(read(tmp_path, tiff(deep, 0)), grey(rounded(65535 - deep)))


def test_16_bit_tiff_compressed(tmp_path: Path) -> None:
    deep = noise(3, np.uint16)
    content = cv2.imencode(".tiff", deep[..., ::-1])[1].tobytes()  # LZW
    assert np.array_equal(read(tmp_path, content), rounded(deep))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png(tmp_path: Path, channels: int) -> None:
    deep = noise(channels, np.uint16)
    colours = np.atleast_3d(deep)[..., : 3 if channels > 2 else 1]
    expected = np.broadcast_to(rounded(colours), (*colours.shape[:2], 3))
    assert np.array_equal(read(tmp_path, png(deep)), expected)


def test_16_bit_png_with_transparent_colour(tmp_path: Path) -> None:
    deep = noise(3, np.uint16)
    transparent = png_chunk(b"tRNS", deep[0, 0].astype(">u2").tobytes())
    assert np.array_equal(read(tmp_path, png(deep, transparent)), rounded(deep))


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels upright; the EXIF standard says to which sides their row 0 and column 0 belong."""
    turned = pixels.swapaxes(0, 1)
    return {
        1: pixels,  # top, left
        2: pixels[:, ::-1],  # top, right
        3: pixels[::-1, ::-1],  # bottom, right
        4: pixels[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[:, ::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[::-1],  # left, bottom
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    stored, deep = noise(), noise(3, np.uint16)
    image = Image.fromarray(stored)
    exif = oriented(Image.new("L", (1, 1)), "PNG", orientation)
    exif_chunk = exif[exif.index(b"eXIf") - 4 : exif.index(b"IDAT") - 4]
    for content in (
        oriented(image, "PNG", orientation),
        oriented(image, "WEBP", orientation, lossless=True),
        oriented(image, "TIFF", orientation),
        oriented(image, "TIFF", orientation, compression="tiff_lzw"),
        tiff(stored, 2, orientation=orientation),
    ):
        assert np.array_equal(read(tmp_path, content), upright(stored, orientation))
    for content in (tiff(deep, 2, orientation=orientation), png(deep, exif_chunk)):
        assert np.array_equal(read(tmp_path, content), upright(rounded(deep), orientation))
    indices = image.quantize(16)
    assert np.array_equal(
        read(tmp_path, oriented(indices, "PNG", orientation)), upright(np.array(indices.convert("RGB")), orientation)
    )
    plain = read(tmp_path, saved(image, "JPEG"))
    assert np.array_equal(read(tmp_path, oriented(image, "JPEG", orientation)), upright(plain, orientation))


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_first_frame_is_the_photograph(tmp_path: Path, kind: str) -> None:
    first, second = Image.fromarray(noise(seed=1)), Image.fromarray(noise(seed=2))
    content = saved(first, kind, save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(read(tmp_path, content), noise(seed=1))


def test_the_end_marker_of_a_preview_does_not_count(tmp_path: Path) -> None:
    preview = saved(Image.fromarray(noise(seed=1)), "JPEG")
    whole = saved(Image.fromarray(noise()), "JPEG", exif=b"Exif\0\0" + preview)
    assert read(tmp_path, whole).shape == (10, 14, 3)
    (tmp_path / "picture").write_bytes(whole[:-2] + bytes(5000))
    assert list(Photos(tmp_path, 1)) == [Rejection("picture", "damaged or truncated JPEG: it has no end marker")]


def test_size_limits_are_inclusive(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise()))  # 14 x 10
    assert len(read_all(Photos(tmp_path, min_size=10, max_pixels=140))[0]) == 1
    for source in (Photos(tmp_path, min_size=11), Photos(tmp_path, min_size=1, max_pixels=139)):
        (found,) = source
        assert isinstance(found, Rejection)


def test_max_pixels_replaces_the_limit_of_pillow_and_restores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read(tmp_path, png(noise())).shape == (10, 14, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_file_is_read_only_when_it_is_needed(tmp_path: Path) -> None:
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        (tmp_path / name).write_bytes(png(noise(seed=seed)))
    candidates = iter(Photos(tmp_path, 1))
    assert next(candidates).name == "a.png"
    (tmp_path / "b.png").write_bytes(b"no longer a picture")
    (tmp_path / "c.png").unlink()
    assert list(candidates) == [
        Rejection("b.png", "not an image (JPEG, PNG, TIFF, WebP or BMP)"),
        Rejection("c.png", "no longer there"),
    ]


def test_the_source_keeps_no_picture_in_memory(tmp_path: Path) -> None:
    for seed, name in enumerate(["a.png", "b.png"]):
        (tmp_path / name).write_bytes(png(noise(seed=seed)))
    pictures = iter(Photos(tmp_path, 1))
    picture: Picture | Rejection | None = next(pictures)
    assert isinstance(picture, Picture)
    held = weakref.ref(picture)
    picture = None
    assert held() is None


def test_random_damage_never_raises(tmp_path: Path) -> None:
    image = Image.fromarray(noise())
    originals = [saved(image, kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP")]
    originals += [png(noise(3, np.uint16)), tiff(noise(3, np.uint16), 2), saved(image, "JPEG", progressive=True)]
    rng = np.random.default_rng(0)
    for number in range(400):
        content = bytearray(originals[number % len(originals)])
        for _ in range(rng.integers(1, 6)):
            content[rng.integers(len(content))] = rng.integers(256)
        (tmp_path / f"{number:03}").write_bytes(content[: rng.integers(1, len(content)) if number % 3 else None])
    assert len(list(Photos(tmp_path, 1, max_pixels=1_000_000))) == 400


def test_unreadable_file_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked.png").write_bytes(png(noise()))

    def refuse(self: Path, *args: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # root may read a file of mode 000
    assert list(Photos(tmp_path, 1)) == [Rejection("locked.png", "cannot be read: Permission denied")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_unlistable_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise()))
    (tmp_path / "closed").mkdir(mode=0o000)
    pictures, rejected = read_all(Photos(tmp_path, 1))
    assert [picture.name for picture in pictures] == ["a.png"]
    assert rejected == [Rejection("closed", "cannot be read: Permission denied")]


def test_pipe_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise()))
    os.mkfifo(tmp_path / "pipe.jpg")
    assert len(Photos(tmp_path, 1)) == 1


def test_name_that_is_not_text_is_escaped(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(png(noise()))
    (picture,) = Photos(tmp_path, 1)
    assert picture.name.encode() == rb"\udcff.png"


def test_folder_errors_say_what_where_and_what_to_do(tmp_path: Path) -> None:
    missing, file, empty = tmp_path / "missing", tmp_path / "file.png", tmp_path / "empty"
    file.write_bytes(png(noise()))
    (empty / "deep").mkdir(parents=True)
    (empty / ".hidden.png").write_bytes(png(noise()))
    with pytest.raises(FileNotFoundError, match=rf"no folder {missing}\. Give"):
        Photos(missing, 1)
    with pytest.raises(NotADirectoryError, match=rf"{file} is a file\. Give"):
        Photos(file, 1)
    with pytest.raises(FileNotFoundError, match=rf"{empty} holds no file\. Put"):
        Photos(empty, 1)


@pytest.mark.parametrize(("min_size", "max_pixels"), [(0, 100), (-3, 100), (11, 120)])
def test_limits_that_no_picture_meets_are_refused(tmp_path: Path, min_size: int, max_pixels: int) -> None:
    with pytest.raises(ValueError, match="let no picture pass"):
        Photos(tmp_path, min_size, max_pixels)


def test_config(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise()))
    settings = OmegaConf.load(Path(__file__).parents[2] / "conf/source/photos.yaml")
    config = OmegaConf.create({"patches": {"size": 10}, "source": settings})
    assert OmegaConf.is_missing(config.source, "folder")
    config.source.folder = str(tmp_path)
    assert [picture.name for picture in instantiate(config.source)] == ["a.png"]
