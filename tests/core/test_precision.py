"""Where training may use bfloat16."""

import pytest
import torch

from wherefrom.core.compute.passes import halves

CPU = torch.device("cpu")


@pytest.mark.parametrize(("tiles", "dots"), [(False, False), (True, False), (False, True)])
def test_auto_needs_instructions_and_not_only_emulation__closed_form(tiles, dots, monkeypatch):
    """AVX-512 without bfloat16 instructions is "supported" by oneDNN, and slower than float32."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: dots)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert halves("auto", CPU) is (tiles or dots)


def test_a_wanted_precision_is_taken_at_its_word__identity_asked():
    assert halves("bf16", CPU)
    assert not halves("fp32", CPU)
