"""Answers do not depend on the batch, and verdicts not on the processor.

Other processors are stood in for by the switches of torch, oneDNN and MKL, which must be set before
torch is imported: hence the child processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from answers import HERE, answers

# Of one image's score, twice what was measured.  Verdicts allow `calibration.conformal.ROUNDING`.
TOLERANCE = 2.5e-5
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
PATIENT = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
EACH = [
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ATEN_CPU_CAPABILITY": "avx512"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"MKL_CBWR": "COMPATIBLE"},
    {"MKL_CBWR": "AVX2"},
    {"MKL_FIRST": "1"},
    {"OMP_NUM_THREADS": "3"},
]


@pytest.fixture(scope="module")
def frozen():
    """What the processor said that made the artifacts."""
    return json.loads((HERE / "answers.json").read_text())


def in_a_child(settings, *, every=1):
    environment = {k: v for k, v in os.environ.items() if k != "MKL_CBWR"} | settings
    if settings.get("ATEN_CPU_CAPABILITY") == "avx512":
        cpuinfo = Path("/proc/cpuinfo")
        if cpuinfo.exists() and "avx512f" not in cpuinfo.read_text():
            pytest.skip("this processor has no AVX-512, whose instructions would end the process")
    program = [sys.executable, str(Path(__file__).with_name("answers.py")), str(every)]
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


def require_same(found, expected):
    assert found.keys() == expected.keys()
    for name, answer in found.items():
        assert answer["alike"], name
        assert answer["verdicts"] == expected[name]["verdicts"], name
        assert answer["p_values"] == expected[name]["p_values"], name
        assert answer["scores"] == pytest.approx(expected[name]["scores"], rel=TOLERANCE), name


def test_saved_artifacts_keep_their_verdicts_here__reference_frozen(frozen):
    """Frozen by `make_frozen.py`; half of the images are the calibration's own, so all tie."""
    require_same(answers(), frozen)


def test_the_same_with_plain_kernels_two_threads_and_mkl_in_use__reference_frozen(frozen):
    """Every fourth image; `test_the_same_with_each_switch` takes them all."""
    settings = PLAIN | PATIENT | {"MKL_FIRST": "1"}
    expected = {
        name: {key: values[::4] for key, values in answer.items() if key != "alike"}
        for name, answer in frozen.items()
    }
    require_same(in_a_child(settings, every=4), expected)


@pytest.mark.slow
@pytest.mark.parametrize("settings", EACH, ids=lambda s: "=".join(*s.items()))
def test_the_same_with_each_switch__reference_frozen(frozen, settings):
    require_same(in_a_child(settings), frozen)


def test_frozen_answers_hold_every_kind_of_verdict__smoke(frozen):
    assert len({verdict for answer in frozen.values() for verdict in answer["verdicts"]}) >= 4


def test_this_process_has_the_switch_of_mkl_set__closed_form():
    """The package sets it on import; torch may come first, MKL's first product may not."""
    from wherefrom.core.compute.passes import rows_depend_on_place

    assert os.environ["MKL_CBWR"] == "AUTO"
    assert not rows_depend_on_place()
    assert torch.get_num_threads() >= 1
