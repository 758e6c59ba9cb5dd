"""The ONNX file against the detector itself, run by another runtime."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.detectors.deep_sad import DeepSadConfig, fit_deep_sad
from wherefrom.detectors.export import export_onnx

TINY = DeepSadConfig(epochs=1, batch=16, representation=8)
# float32 sums in another order: 8 squares of size ~1, each good to a few 1e-7
ROUNDING = 1e-4


@pytest.fixture(params=[(3, 8, 8), (12,)], ids=["images", "rows"])
def detector(request):
    x = torch.randn(40, *request.param) + 1.0
    y = torch.where(torch.arange(40) < 30, 1.0, -1.0)
    return fit_deep_sad(x, y, config=TINY)


def test_another_runtime_gives_the_same_scores__reference_onnxruntime(detector, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx")
    pytest.importorskip("onnxscript", reason="the extra onnx")
    export_onnx(detector, tmp_path / "d.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "d.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        x = 3 * torch.randn(count, *detector.shape)
        (result,) = session.run(["score"], {"x": x.numpy()})
        assert result.shape == (count,)
        np.testing.assert_allclose(result, detector.score(x).numpy(), rtol=ROUNDING, atol=1e-6)


def test_an_absent_library_is_named__rejects_extras(detector, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"wherefrom\[onnx\]"):
        export_onnx(detector, tmp_path / "d.onnx")
    assert not (tmp_path / "d.onnx").exists()


@pytest.mark.parametrize("detector", [(12,)], ids=["rows"], indirect=True)
def test_a_folder_that_is_not_there__rejects_path(detector, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript", reason="the extra onnx")
    monkeypatch.setattr(torch.onnx, "export", None)  # it is said before the export
    with pytest.raises(InputError, match=r"cannot write .* is not a folder"):
        export_onnx(detector, tmp_path / "no" / "d.onnx")


@pytest.mark.parametrize("detector", [(12,)], ids=["rows"], indirect=True)
def test_a_full_disk__rejects_path(detector, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx", reason="the extra onnx")
    pytest.importorskip("onnxscript", reason="the extra onnx")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    program = SimpleNamespace(model_proto=model)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*No space left on device"):
        export_onnx(detector, tmp_path / "d.onnx")
    assert list(tmp_path.iterdir()) == []
