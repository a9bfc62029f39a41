"""A detector behind an address gets picture files, each once, and a server's faults cost nothing but time."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from configs import Compose
from numpy.typing import NDArray
from PIL import Image

from advforensics.audit import audit
from advforensics.detectors.logits import UnfitError
from advforensics.targets import http
from advforensics.targets.http import Endpoint

FEW = ("eps_levels=[0,1,16]", "images=8", "probed=2", "ensemble.without_gradients.attacks.square.build.n_queries=30")


class Server(ThreadingHTTPServer):
    """Says how bright a picture is, in the form that it is told to; its first answers may be faults."""

    form: Any = staticmethod(lambda fake: {"score": fake})
    faults: list[int]
    seen: list[bytes]
    headers: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_POST(self) -> None:
        """Answer with JSON, or with the next fault."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        start = body.index(b"\x89PNG")
        self.server.headers.append(dict(self.headers))
        status = self.server.faults.pop(0) if self.server.faults else 200
        if status == 200:
            self.server.seen.append(body[start:])
            with Image.open(io.BytesIO(body[start:])) as opened:
                answer = self.server.form(float(np.asarray(opened).mean() / 255))
        else:
            answer = {"error": "not today"}
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "PAUSE", 0.001)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.faults, running.seen, running.headers = [], [], []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/judge"


def pictures(number: int = 3) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return np.asarray(rng.integers(0, 256, (number, 3, 6, 8)) / 255, dtype=np.float32)


@pytest.mark.parametrize("field", ["file", None])
def test_each_picture_arrives_as_a_png_file_once(server: Server, field: str | None) -> None:
    ask = Endpoint(url(server), field=field, score="score")
    answers = ask(pictures())
    np.testing.assert_allclose(answers, pictures().mean(axis=(1, 2, 3)), rtol=1e-6)
    with Image.open(io.BytesIO(server.seen[1])) as opened:
        np.testing.assert_array_equal(np.asarray(opened), (pictures()[1] * 255).round().transpose(1, 2, 0))
    np.testing.assert_array_equal(ask(pictures()), answers)
    assert len(server.seen) == ask.asked == 3


@pytest.mark.parametrize(
    ("form", "score", "expected"),
    [
        (lambda fake: fake, "", 0.5),
        (lambda fake: {"predictions": [{"p": fake}]}, "predictions.0.p", 0.5),
        (lambda fake: [{"label": "fake", "score": fake}, {"label": "real", "score": 1 - fake}], "", [0.5, 0.5]),
        (lambda fake: {"verdict": "fake"}, "verdict", "fake"),
        (lambda fake: {"scores": [0.25, 0.75]}, "scores", [0.25, 0.75]),
    ],
)
def test_answers_lie_where_they_were_said_to(server: Server, form: Any, score: str, expected: Any) -> None:
    server.form = form
    (answer,) = Endpoint(url(server), score=score, labels=("real", "fake"))(np.full((1, 3, 4, 4), 0.5, np.float32))
    if isinstance(expected, str):
        assert answer == expected
    else:
        np.testing.assert_allclose(answer, expected, atol=0.01)


@pytest.mark.parametrize(
    ("form", "score", "reason"),
    [
        (
            lambda fake: {"verdict": 1},
            "score",
            r"where there is no 'score': say where the answer lies with target\.score",
        ),
        (lambda fake: [1], "0.x", "where there is no '0.x'"),
        (lambda fake: {"a": None}, "a", "no number, label or list"),
        (lambda fake: [{"label": "ai", "score": 1}], "", r"target\.labels=\[ai\]"),
        (lambda fake: b"hello", "", "'hello', which is no JSON"),
    ],
)
def test_other_answers_are_refused(server: Server, form: Any, score: str, reason: str) -> None:
    server.form = form
    with pytest.raises(UnfitError, match=reason):
        Endpoint(url(server), score=score, labels=("real", "fake"))(pictures(1))


def test_a_server_that_is_busy_or_fails_is_asked_again(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.faults = [503, 429]
    assert len(Endpoint(url(server), score="score", retries=2)(pictures(1))) == 1
    assert "status 503; attempt 2 of 3" in caplog.text
    server.faults = [500, 500]
    with pytest.raises(ConnectionError, match=r"no answer after 2 attempts: status 500\. Nothing is lost"):
        Endpoint(url(server), score="score", retries=1)(pictures(1))
    server.faults = [422]
    with pytest.raises(ValueError, match=r"refuses a picture, status 422: .*not today"):
        Endpoint(url(server), score="score")(pictures(1))


def test_a_server_that_is_down_is_an_error_that_says_so() -> None:
    with pytest.raises(ConnectionError, match="gives no answer after 1 attempts: no answer"):
        Endpoint("http://127.0.0.1:9/judge", retries=0)(pictures(1))


def test_answers_are_kept_and_a_budget_is(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    options: dict[str, Any] = {"score": "score", "cache": cache, "budget": 3}
    first = Endpoint(url(server), **options)(pictures(3))
    with cache.open("a") as stream:
        stream.write('["cut o')  # by a kill
    again = Endpoint(url(server), **options)
    np.testing.assert_array_equal(again(pictures(3)), first)
    assert len(server.seen) == 3
    with pytest.raises(ValueError, match=r"target\.budget=3: so many pictures were asked\. Nothing is lost"):
        again(pictures(4))
    more = Endpoint(url(server), **{**options, "budget": 4})
    assert len(more(pictures(4))) == 4
    assert len(Endpoint(url(server), **options)(pictures(4))) == 4


def test_what_was_kept_for_another_question_is_no_answer(server: Server, tmp_path: Path) -> None:
    server.form = lambda fake: {"fake": fake, "real": 1 - fake}
    kept: dict[str, Any] = {"cache": tmp_path / "answers.jsonl"}
    fake = Endpoint(url(server), score="fake", **kept)(pictures(2))
    real = Endpoint(url(server), score="real", **kept)(pictures(2))
    np.testing.assert_allclose(fake + real, 1)
    again = Endpoint(url(server), score="fake", **kept)
    np.testing.assert_array_equal(again(pictures(2)), fake)
    assert (again.asked, len(server.seen)) == (2, 4)


def test_a_token_comes_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"target\.token=JUDGE: set this environment variable"):
        Endpoint(url(server), token="JUDGE")
    monkeypatch.setenv("JUDGE", "secret")
    Endpoint(url(server), score="score", token="JUDGE")(pictures(1))
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_a_rate_limit_is_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("advforensics.targets.http.time.sleep", slept.append)
    Endpoint(url(server), score="score", per_second=0.1)(pictures(3))
    assert [round(seconds) for seconds in slept] == [0, 10, 10]


@pytest.mark.usefixtures("sketched", "unprobed")
def test_an_audit_of_an_endpoint_asks_for_files_alone(server: Server, composed: Compose, tmp_path: Path) -> None:
    for name in ("real", "fake"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number).integers(60, 180, (24, 24 + number % 2, 3)) + 4 * (name == "fake")
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / name / f"{number}.png")
    server.form = lambda fake: {"score": float(torch.sigmoid(torch.tensor(100 * (fake - 0.4765))))}
    target = ("target=http", f"target.url={url(server)}", "target.score=score", "target.answers=probability")
    given = ("target.labels=[real,fake]", f"pictures={tmp_path / 'pictures'}", *FEW)
    metrics = audit(composed("audit", *target, *given))
    assert {key.split("/")[2] for key in metrics if key.startswith("robust")} == {"png", "jpeg"}
    assert metrics["robust_accuracy/linf/png/16"] < metrics["robust_accuracy/linf/png/0"]
    asked = len(server.seen)
    assert len((Path("out/audit") / "answers.jsonl").read_text().splitlines()) == asked
    assert len(set(server.seen)) == asked
