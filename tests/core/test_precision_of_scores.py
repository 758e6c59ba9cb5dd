"""No score depends on the caller's settings for float32 products (TF32, bfloat16)."""

import pytest
import torch

from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.lasso import Inverter
from wherefrom.core.compute.passes import FULL
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.origin.index.scanning import scan
from wherefrom.origin.index.scanning.exact import RowBlock
from wherefrom.origin.index.scanning.rough import Rough, Rows
from wherefrom.origin.reranking import spatial


@pytest.fixture
def watched():
    """Says that float32 products may be rounded, and lists what was in force when asked."""
    matmul, conv = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    before = [backend.fp32_precision for backend in (matmul, conv)]
    for backend in (matmul, conv):
        backend.fp32_precision = "bf16"
    seen = []

    def watch(apply):
        def watching(*given, **named):
            seen.append((matmul.fp32_precision, conv.fp32_precision))
            return apply(*given, **named)

        return watching

    yield seen, watch
    for backend, value in zip((matmul, conv), before, strict=True):
        backend.fp32_precision = value


def test_candidates_are_laid_over_in_full_precision__identity_setting(watched, monkeypatch):
    seen, watch = watched
    monkeypatch.setattr(spatial, "_both_ways", watch(spatial._both_ways))
    q, o = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 8, 8)
    first, *_ = spatial.align(q, o)
    spatial.difference_map(q[0], o[0], first)
    assert len(seen) > 2 and set(seen) == {(FULL, FULL)}


def test_an_index_is_scanned_in_full_precision__identity_setting(watched, monkeypatch):
    """The exact scores never depended on it; the deviation of all scores did."""
    seen, watch = watched
    monkeypatch.setattr(Rough, "_products", watch(Rough._products))
    rows = torch.nn.functional.normalize(torch.randn(40, 16)).half()
    total = rows.double().sum(0)
    none = torch.empty(0, dtype=torch.int64)
    part = RowBlock(rows, torch.arange(40), none, total)
    queries = torch.nn.functional.normalize(torch.randn(3, 16).double())
    scan.scan(Rows([part]), queries, 5)
    assert seen and set(seen) == {(FULL, FULL)}


def test_an_inversion_starts_in_full_precision__identity_setting(watched, monkeypatch):
    seen, watch = watched
    monkeypatch.setattr(LastLayer, "apply", watch(LastLayer.apply))
    layer = LastLayer(
        kind="dense", weight=torch.randn(6, 4), bias=None, input_shape=(4,), output_shape=(6,)
    )
    Inverter(layer, torch.randn(4), LassoConfig(iterations=2))
    assert seen and set(seen) == {(FULL, FULL)}
