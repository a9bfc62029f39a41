"""The class is the source class; harmonised pictures have one size and JPEG quality."""

from dataclasses import replace

import numpy as np
import pytest
from toys import picture

from advforensics.sources.base import Annotation, UnusableError
from advforensics.tasks.source_labels import SourceLabels


def labels(classes: list[str] | None = None, harmonise: bool = False) -> SourceLabels:
    return SourceLabels("camera", classes, False, harmonise, side=48, quality=90, min_scenes=4, unseen_devices=0)


def test_a_picture_gets_its_source_class_and_stays_as_it_is() -> None:
    photograph = replace(picture(0), annotation=Annotation("D70"))
    (version,) = labels().versions(photograph, seed=0)
    assert version.class_name == "D70"
    assert np.array_equal(version.pixels, photograph.pixels)


def test_a_harmonised_picture_is_the_middle_after_jpeg() -> None:
    photograph = replace(picture(0), annotation=Annotation("D70"))
    (version,) = labels(harmonise=True).versions(photograph, seed=0)
    assert version.pixels.shape == (48, 48, 3)
    middle = photograph.pixels[12:60, 24:72]
    assert 0 < np.abs(version.pixels.astype(int) - middle).mean() < 10


def test_a_picture_that_is_too_small_to_harmonise_cannot_be_used() -> None:
    photograph = replace(picture(0, picture(0).pixels[:47]), annotation=Annotation("D70"))
    with pytest.raises(UnusableError, match=r"too small to harmonise: 96 x 47 pixels, task\.side is 48"):
        list(labels(harmonise=True).versions(photograph, seed=0))


def test_classes_are_those_of_the_config_or_all_source_classes() -> None:
    assert labels().classes_of({"b", "a"}) == ("a", "b")
    assert labels(classes=["real", "fake"]).classes_of({"fake", "real"}) == ("real", "fake")
    for classes, found in ((["real", "fake"], {"real"}), (["real", "fake"], {"real", "fake", "x"}), (None, {"a"})):
        with pytest.raises(ValueError, match=r"task\.classes of camera are .*, but the source has"):
            labels(classes=classes).classes_of(found)


def test_a_picture_without_a_source_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="task=camera needs a source class, and photo-0 has none"):
        list(labels().versions(picture(0), seed=0))
