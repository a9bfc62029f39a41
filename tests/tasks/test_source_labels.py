"""The answer is the source's; harmonised pictures leave by the same door."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toys import picture

from advforensics.sources.base import Annotation, UnusableError
from advforensics.tasks.source_labels import SourceLabels

PLAIN: dict[str, Any] = {
    "classes": None,
    "null_first": False,
    "harmonise": False,
    "unseen_devices": 0,
    "side": 48,
    "quality": 90,
    "least_scenes": 4,
}


def given(**options: Any) -> SourceLabels:
    return SourceLabels("camera", **{**PLAIN, **options})


def test_a_picture_is_what_its_source_says_and_stays_as_it_is() -> None:
    photograph = replace(picture(0), annotation=Annotation("D70"))
    (version,) = given().versions(photograph, seed=0)
    assert version.class_name == "D70"
    assert np.array_equal(version.pixels, photograph.pixels)


def test_harmonised_pictures_are_the_middle_in_a_file_of_one_quality() -> None:
    photograph = replace(picture(0), annotation=Annotation("D70"))
    (version,) = given(harmonise=True).versions(photograph, seed=0)
    assert version.pixels.shape == (48, 48, 3)
    middle = photograph.pixels[12:60, 24:72]
    assert 0 < np.abs(version.pixels.astype(int) - middle).mean() < 10


def test_a_picture_that_is_too_small_to_harmonise_cannot_be_used() -> None:
    photograph = replace(picture(0, picture(0).pixels[:47]), annotation=Annotation("D70"))
    with pytest.raises(UnusableError, match=r"too small to harmonise: 96 x 47 pixels, task\.side is 48"):
        list(given(harmonise=True).versions(photograph, seed=0))


def test_classes_are_those_asked_for_or_all_there_are() -> None:
    assert given().classes_of({"b", "a"}) == ("a", "b")
    assert given(classes=["real", "fake"]).classes_of({"fake", "real"}) == ("real", "fake")
    for classes, answers in ((["real", "fake"], {"real"}), (["real", "fake"], {"real", "fake", "x"}), (None, {"a"})):
        with pytest.raises(ValueError, match=r"camera asks for .*, the source shows"):
            given(classes=classes).classes_of(answers)


def test_a_source_that_knows_no_answer_is_named() -> None:
    with pytest.raises(ValueError, match="task=camera needs a source that says what photo-0 is"):
        list(given().versions(picture(0), seed=0))
