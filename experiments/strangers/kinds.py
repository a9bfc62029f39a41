"""One classifier as every kind of target: python -m experiments.strangers.kinds CLASSIFIER PICTURES WORK > FILE.

CLASSIFIER is a ConvNeXT-style classifier that hub.py has made, PICTURES a folder with real and fake. Each kind is one
command of advforensics; the table says whether its answers are those of the library's own pipeline.
"""

import io
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from experiments.strangers.check import MEANT, Pipeline

SIDE = 64
# What the classifier's processor does, in the words of target.preprocessing.
PREPROCESSING = "{resize: 73, filter: bicubic, crop: 64, mean: 0.5, std: 0.5}"
FEW = ("images=60", "eps_levels=[0,2]", "ensemble.without_gradients.attacks.square.build.n_queries=20", "probed=4")
LABELS = "target.labels=[fake,real]"


class Network(nn.Module):
    """The classifier's network alone, from preprocessed pictures to logits; without its weights."""

    def __init__(self, config: str) -> None:
        super().__init__()
        library: Any = transformers
        self.net = library.AutoModelForImageClassification.from_config(library.AutoConfig.from_pretrained(config))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.net(pixel_values=images).logits
        return logits


class Answering:
    """The library's pipeline as a callable, which answers with a label."""

    def __init__(self, folder: str) -> None:
        self.pipeline = Pipeline(Path(folder))

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.str_]:
        """Return a label for each picture."""
        return np.array(
            [self.answer(Image.fromarray((255 * p).round().astype(np.uint8).transpose(1, 2, 0))) for p in pictures]
        )

    def answer(self, picture: Image.Image) -> str:
        """Return the label of one picture."""
        stream = io.BytesIO()
        picture.save(stream, format="PNG")
        return self.pipeline(stream)  # type: ignore[arg-type]  # Pillow opens both


def write(classifier: Path, work: Path) -> None:
    """Write the network in every form."""
    network = Network(str(classifier)).eval()
    whole: Any = transformers
    network.net.load_state_dict(whole.AutoModelForImageClassification.from_pretrained(classifier).state_dict())
    torch.save(
        {"model": {f"module.{name}": value for name, value in network.state_dict().items()}}, work / "weights.pth"
    )
    example = torch.rand(2, 3, SIDE, SIDE)
    torch.jit.trace(network, example, check_trace=False).save(work / "network.ts")
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=({0: batch},)), work / "network.pt2")
    torch.onnx.export(
        network, (example,), work / "network.onnx", input_names=["images"], dynamic_axes={"images": {0: "batch"}},
        dynamo=False,
    )  # fmt: skip


def serve(classifier: Path) -> ThreadingHTTPServer:
    """Start a server that judges picture files by the library's pipeline."""
    answering = Answering(str(classifier))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with Image.open(io.BytesIO(body[body.index(b"\x89PNG") :])) as opened:
                content = f'{{"verdict": "{answering.answer(opened)}"}}'.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(classifier: Path, pictures: Path, work: Path) -> pd.DataFrame:
    """Audit each kind; return a row for each."""
    work.mkdir(parents=True, exist_ok=True)
    write(classifier, work)
    server, said = serve(classifier), (LABELS, f"target.preprocessing={PREPROCESSING}")
    kinds = {
        "huggingface": (f"target.path={classifier}", "target.classes={real: [human], fake: [artificial]}"),
        "module": (
            "target.module._target_=experiments.strangers.kinds.Network", f"+target.module.config={classifier}",
            f"target.path={work / 'weights.pth'}", *said,
        ),
        "torchscript": (f"target.path={work / 'network.ts'}", *said),
        "exported": (f"target.path={work / 'network.pt2'}", *said),
        "onnx": (f"target.path={work / 'network.onnx'}", *said),
        "callable": (
            "target.function._target_=experiments.strangers.kinds.Answering", "target.function._partial_=false",
            f"+target.function.folder={classifier}", LABELS, "target.answers=label",
        ),
        "http": (
            f"target.url=http://127.0.0.1:{server.server_port}/judge", "target.score=verdict", LABELS,
            "target.answers=label",
        ),
    }  # fmt: skip
    pipeline, rows = Pipeline(classifier), []
    for kind, options in kinds.items():
        folder = work / f"audit-{kind}"
        command = [
            "advforensics",
            "audit",
            f"target={kind}",
            *options,
            f"pictures={pictures}",
            f"folder={folder}",
            *FEW,
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        told = pd.read_csv(folder / "pictures.csv")
        names = told.set_index("label")["class"].to_dict()
        library = [pipeline(pictures / name) for name in told["name"]]
        row = {
            "kind": kind,
            "pictures": len(told),
            "right": int(told["correct"].sum()),
            "right_in_library": sum(map(str.__eq__, told["class"], library)),
            "same_answer": sum(map(str.__eq__, told["predicted"].map(names), library)),
        }
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    assert set(MEANT.values()) == {"real", "fake"}
    main(*map(Path, sys.argv[1:])).to_csv(sys.stdout, index=False)
