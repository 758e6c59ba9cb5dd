"""Saving and loading any fitted value."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.saving.artifact import Artifact, Saved, damage_named


@dataclass(frozen=True, eq=False)
class Threshold(Artifact):
    """A small value of its own kind."""

    kind: ClassVar[str] = "test/threshold"
    schema: ClassVar[int] = 1
    rate: float
    scores: torch.Tensor

    def to_saved(self):
        return Saved({"rate": self.rate}, {"scores": self.scores})

    @classmethod
    def from_saved(cls, saved):
        return cls(float(saved.meta["rate"]), saved.tensors["scores"])


class Other(Threshold):
    """The same of another kind."""

    kind: ClassVar[str] = "test/other"


class Renamed(Threshold):
    """A later version that reads a name which older folders lack."""

    again: ClassVar[str] = "calibrate again"

    @classmethod
    def from_saved(cls, saved):
        return cls(saved.meta["false_alarms"], saved.tensors["scores"])


def test_a_value_comes_back_whole__roundtrip(tmp_path):
    Threshold(0.1, torch.arange(3.0)).save(tmp_path / "t")
    loaded = Threshold.load(tmp_path / "t")
    assert (loaded.rate, loaded.scores.tolist()) == (0.1, [0.0, 1.0, 2.0])


def test_nothing_is_overwritten_unasked__rejects_existing(tmp_path):
    Threshold(0.1, torch.zeros(1)).save(tmp_path / "t")
    with pytest.raises(InputError, match="already exists"):
        Threshold(0.2, torch.zeros(1)).save(tmp_path / "t")
    Threshold(0.2, torch.zeros(1)).save(tmp_path / "t", overwrite=True)
    assert Threshold.load(tmp_path / "t").rate == 0.2


def test_another_kind_is_no_such_value__rejects_kind(tmp_path):
    Threshold(0.1, torch.zeros(1)).save(tmp_path / "t")
    with pytest.raises(ArtifactError, match="expected 'test/other'"):
        Other.load(tmp_path / "t")


def test_a_missing_part_is_damage_with_what_to_do__rejects_damage(tmp_path):
    Threshold(0.1, torch.zeros(1)).save(tmp_path / "t")
    with pytest.raises(ArtifactError, match=r"t is damaged \('false_alarms'\); calibrate again"):
        Renamed.load(tmp_path / "t")


def test_what_is_the_user_s_to_mend_passes__identity_error(tmp_path):
    with pytest.raises(InputError, match="too few"), damage_named(tmp_path):
        raise InputError("too few images")
