"""Detectors behind an address: a picture file goes there, an answer in JSON comes back."""

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.logits import UnfitError
from advforensics.targets.black_box import BlackBox
from advforensics.targets.foreign import Description, foreign_target
from advforensics.targets.question import Question

log = logging.getLogger(__name__)
BUSY, FAILED = 429, 500  # status codes: too many questions, and the first of a server's faults
PAUSE = 0.5  # seconds before the second attempt, doubled with each
SHOWN = 200  # characters of an answer in an error


class Endpoint:
    """Asks an address about pictures, each one once.

    Args:
        url: Where each picture is posted to as a PNG file.
        field: Name of the form's field that holds the file; ``None`` to send the file as the whole body.
        score: Where the answer lies in the JSON: names and numbers with dots between, ``predictions.0.score``; empty
            for all of it. What lies there is a number, a list of them, a label, or a list of labels with their scores.
        labels: What it tells apart, in the order in which scores with labels are wanted.
        token: Name of the environment variable whose content is sent as a bearer token; ``None`` for none.
        timeout: Seconds to wait for an answer.
        retries: Further attempts if there is none, or the server says that it is busy or has failed.
        per_second: Pictures asked in a second, at most; ``None`` for no limit.
        budget: Pictures asked in all, at most; ``None`` for no limit. Answers that are known cost nothing.
        cache: File that keeps the answers, by hashes of the pictures; ``None`` to keep them in memory alone.

    Attributes:
        asked: How many pictures were asked in all, earlier runs with the same question and cache included.

    Raises:
        ValueError: If the environment variable of the token is not set.
    """

    def __init__(
        self,
        url: str,
        *,
        field: str | None = "file",
        score: str = "",
        labels: tuple[str, ...] = (),
        token: str | None = None,
        timeout: float = 30,
        retries: int = 3,
        per_second: float | None = None,
        budget: int | None = None,
        cache: Path | None = None,
    ) -> None:
        self.url, self.field, self.score, self.labels = url, field, score, labels
        self.timeout, self.retries, self.per_second = timeout, retries, per_second
        self.budget, self.cache = budget, cache
        # Answers are kept for this question alone: to another address, or read in another way, they would be wrong.
        self._question = hashlib.sha256(repr((url, field, score, labels)).encode()).hexdigest()
        self._session, self._next = requests.Session(), 0.0
        if token is not None:
            if token not in os.environ:
                raise ValueError(f"target.token={token}: set this environment variable to the token")
            self._session.headers["Authorization"] = f"Bearer {os.environ[token]}"
        self._known = _read(cache, self._question)
        self.asked = len(self._known)

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[Any]:
        """Return the answers for pictures ``(N, C, H, W)`` in [0, 1], which are rounded to whole levels.

        Raises:
            ConnectionError: If no answer comes.
            UnfitError: If the answer is not where it was said to be.
            ValueError: If the server refuses the picture, or the budget is spent.
        """
        return np.array([self._answer(_png(picture)) for picture in pictures])

    def _answer(self, file: bytes) -> Any:
        key = hashlib.sha256(file).hexdigest()
        if key not in self._known:
            if self.budget is not None and self.asked >= self.budget:
                raise ValueError(
                    f"target.budget={self.budget}: so many pictures were asked. Nothing is lost: give a larger budget,"
                    " and the same command goes on"
                )
            answer = self._found(self._ask(file))
            self._known[key] = answer
            self.asked += 1
            if self.cache is not None:
                with self.cache.open("a") as stream:
                    stream.write(json.dumps([self._question, key, answer]) + "\n")
        return self._known[key]

    def _ask(self, file: bytes) -> Any:
        """Return what the server says of a picture."""
        how: dict[str, Any] = {"data": file, "headers": {"Content-Type": "image/png"}}
        if self.field is not None:
            how = {"files": {self.field: ("picture.png", file, "image/png")}}
        reason, pause = "", PAUSE
        for attempt in range(self.retries + 1):
            if attempt:
                log.warning("%s: %s; attempt %d of %d", self.url, reason, attempt + 1, self.retries + 1)
                time.sleep(pause)
                pause *= 2
            self._keep_pace()
            try:
                response = self._session.post(self.url, timeout=self.timeout, **how)
            except requests.RequestException as error:
                reason = f"no answer ({type(error).__name__})"
                continue
            if response.status_code == BUSY or response.status_code >= FAILED:
                reason = f"status {response.status_code}"
                wait = response.headers.get("Retry-After", "")
                pause = max(pause, float(wait)) if wait.isdecimal() else pause
                continue
            if not response.ok:
                raise ValueError(
                    f"{self.url} refuses a picture, status {response.status_code}: {response.text[:SHOWN]}"
                )
            try:
                return response.json()
            except requests.JSONDecodeError as error:
                raise UnfitError(f"answers {response.text[:SHOWN]!r}, which is no JSON") from error
        raise ConnectionError(
            f"{self.url} gives no answer after {self.retries + 1} attempts: {reason}. Nothing is lost: the same command"
            " goes on when it is back"
        )

    def _keep_pace(self) -> None:
        if self.per_second is not None:
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + 1 / self.per_second

    def _found(self, answer: Any) -> Any:
        """Return what lies where the answer was said to be: a number, a label, or a list of numbers."""
        value = answer
        for step in filter(None, self.score.split(".")):
            try:
                value = value[int(step)] if isinstance(value, list) else value[step]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise UnfitError(
                    f"answers {json.dumps(answer)[:SHOWN]}, where there is no {self.score!r}: say where the answer lies"
                    " with target.score=NAME.NUMBER.NAME"
                ) from error
        if isinstance(value, list) and all(
            isinstance(item, Mapping) and {"label", "score"} <= set(item) for item in value
        ):
            scores = {str(item["label"]): float(item["score"]) for item in value}
            if set(scores) != set(self.labels):
                raise UnfitError(f"scores the labels {', '.join(scores)}: give target.labels=[{','.join(scores)}]")
            return [scores[label] for label in self.labels]
        if isinstance(value, bool) or not isinstance(value, int | float | str | list):
            raise UnfitError(
                f"answers {json.dumps(value)[:SHOWN]}, which is no number, label or list: say where the answer lies"
                " with target.score=NAME.NUMBER.NAME"
            )
        return value


def http(
    question: Question,
    url: str,
    field: str | None,
    score: str,
    token: str | None,
    timeout: float,
    retries: int,
    per_second: float | None,
    budget: int | None,
    cache: str | None,
    **said: Any,
) -> TrainedDetector:
    """Return the detector behind an address as a black box of picture files; arguments as for `Endpoint`.

    Its ``sha256`` is that of the address: what runs behind it is not known, and may change.

    Raises:
        ConnectionError: If it gives no answer.
        ValueError: If its answers are not what the config says.
    """
    description = Description(**said)
    labels = tuple(description.labels or question.labels or ())
    if cache is not None:
        Path(cache).parent.mkdir(parents=True, exist_ok=True)
    endpoint = Endpoint(
        url,
        field=field,
        score=score,
        labels=labels,
        token=token,
        timeout=timeout,
        retries=retries,
        per_second=per_second,
        budget=budget,
        cache=Path(cache) if cache is not None else None,
    )
    digest, address = hashlib.sha256(f"{url} {score}".encode()).hexdigest(), urlsplit(url)
    name = f"{address.hostname}{address.path}"  # without a password
    box = BlackBox(endpoint, labels).eval()
    return foreign_target(box, question, description, sha256=digest, name=name, gradients=False, files_only=True)


def _png(picture: NDArray[np.float32]) -> bytes:
    """Return a picture ``(C, H, W)`` in [0, 1] as a PNG file."""
    levels = (picture * 255).round().clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, 2)).save(stream, format="PNG")
    return stream.getvalue()


def _read(cache: Path | None, wanted: str) -> dict[str, Any]:
    """Return the answers to a question that a file keeps; a line that a kill has cut off does not count."""
    known: dict[str, Any] = {}
    if cache is not None and cache.is_file():
        text = cache.read_text()
        if not text.endswith("\n"):  # so that the next answer begins a line of its own
            with cache.open("a") as stream:
                stream.write("\n")
        for line in text.splitlines():
            try:
                question, key, answer = json.loads(line)
            except ValueError:
                continue
            if question == wanted:
                known[key] = answer
    return known
