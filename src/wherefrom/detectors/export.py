"""Deep SAD as an ONNX model, for programs without PyTorch.

The model takes `x`, (N, *shape) float32 features, and gives `score`, (N,) float32: standardisation,
network and squared distance are all inside.  N is free.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.saving.store import write_file
from wherefrom.detectors.deep_sad import FittedDeepSad

OPSET = 18


class _Scorer(nn.Module):
    """What `FittedDeepSad.score` computes, as one module."""

    def __init__(self, fitted: FittedDeepSad) -> None:
        super().__init__()
        self.network = fitted.network
        for name in ("mean", "scale", "centre"):
            self.register_buffer(name, getattr(fitted, name).detach().cpu().clone())

    def forward(self, x: Tensor) -> Tensor:
        """(N, *shape) -> (N,)."""
        mean, scale, centre = (self.get_buffer(name) for name in ("mean", "scale", "centre"))
        output: Tensor = self.network((x - mean) / scale)
        return (output - centre).square().sum(dim=1)


def export_onnx(fitted: FittedDeepSad, path: Path) -> None:
    """Write the detector as one ONNX file, whole or not at all; needs the extra `onnx`."""
    onnx = need("onnx", "ONNX export", extra="onnx")
    need("onnxscript", "ONNX export", extra="onnx")  # torch's exporter imports it late
    path = Path(path)
    if not path.parent.is_dir():  # before the export, which takes seconds
        raise InputError(f"cannot write {path}: {path.parent} is not a folder; make it first")
    scorer = _Scorer(fitted.to("cpu")).eval()
    example = torch.zeros(2, *fitted.shape)
    with _without_remarks():
        program = torch.onnx.export(
            scorer,
            (example,),
            input_names=["x"],
            output_names=["score"],
            dynamic_shapes={"x": {0: torch.export.Dim("n", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise InputError(f"PyTorch {torch.__version__} gave no ONNX program; try another version")
    onnx.checker.check_model(program.model_proto)
    try:
        write_file(path, program.model_proto.SerializeToString())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Hide the exporter's warnings about its own deprecated calls and unused libraries."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        log.setLevel(before)
