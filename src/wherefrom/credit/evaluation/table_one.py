"""Scores by every baseline of Table 1 for a study, and the reasons of those without scores.

The families are those of Section 4.3, by which the counterfactual evaluation chooses its methods.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.core.saving.json_text import digest_json
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.diffusion.properties import Embedder, Property
from wherefrom.credit.estimators.choose import METHODS
from wherefrom.credit.ledger.game import Floats
from wherefrom.credit.study.baselines import (
    Generated,
    TrainingSet,
    application_baselines,
    gradient_baselines,
    similarity_baselines,
)
from wherefrom.credit.study.tools import Lab

REVISION = 2  # of the scores; it changes when the same recipe gives others
SIMILARITY, INFLUENCE, APPLICATION = "similarity", "influence", "application"
SHARES, LEAVE_ONE_OUT, GIVEN = "shares", "leave one out", "given"
APPLICATION_END = " of the images"
ENTROPIES = ("inception-score", "cluster-entropy", "diversity", "frechet")  # of many images only


@dataclass(frozen=True)
class Baselines(Artifact):
    """Scores by method, float64 (n,) each, larger = more credit; and why the others have none."""

    kind: ClassVar[str] = "credit/baselines"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "remove it"

    scores: Mapping[str, Floats]
    missing: Mapping[str, str]

    def to_saved(self) -> Saved:
        """The scores as tensors, and their order."""
        tensors = {method: torch.from_numpy(values) for method, values in self.scores.items()}
        return Saved({"missing": dict(self.missing), "order": list(self.scores)}, tensors)

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The scores in their order."""
        scores = {name: saved.tensors[name].numpy() for name in saved.meta["order"]}
        return cls(scores, saved.meta["missing"])


def family_of(method: str) -> str:
    """The family of a method, by its name."""
    if method == "loo":
        return LEAVE_ONE_OUT
    if method in METHODS:
        return SHARES
    name = method.rsplit(" (", 1)[0]
    if name.endswith((" similarity", " distance")):
        return SIMILARITY
    if name.endswith(APPLICATION_END):
        return APPLICATION
    known = ("trak", "d-trak", "journey-trak", "relative influence", "renormalised influence")
    return INFLUENCE if name in known else GIVEN


def study_baselines(lab: Lab | None, name: str, *, track: Track = quiet) -> Baselines:
    """All baselines for the property `name`.  They are saved, and read if nothing changed."""
    if lab is None:
        why = "the game is a callable: there is no network and no generated image"
        kinds = ("pixel similarity", "embedding similarity", "gradient similarity", "trak",
                 "d-trak", "journey-trak", "relative influence", "renormalised influence",
                 f"{name}{APPLICATION_END}")  # fmt: skip
        return Baselines({}, dict.fromkeys(kinds, why))
    measured = lab.measured(name)
    place = lab.store / f"scores-{digest_json(recipe_of(lab, measured, track))[:24]}"
    if os.path.lexists(place):
        return Baselines.load(place)
    baselines = _compute(lab, measured, track)
    place.parent.mkdir(parents=True, exist_ok=True)
    baselines.save(place)
    return baselines


def recipe_of(lab: Lab, measured: Property, track: Track = quiet) -> dict[str, Any]:
    """Everything that decides the scores, by content: an encoder by its digest, not by its name."""
    model, sources = lab.models.whole(track), (lab.other_encoder(), lab.baselines.clip)
    settings = lab.baselines.to_dict()
    for name in ("encoder", "clip"):
        del settings[name]
    return {
        "revision": REVISION,
        "data": digest_json(lab.data.digests()),
        "model": digest_tensors(model.network.state_dict()),
        "codec": model.codec.identity,
        "prompts": None if model.prompts is None else digest_tensors({"p": model.prompts}),
        "property": dict(measured.spec) | {"name": measured.name},
        "sampling": lab.sampling.to_dict(),
        "baselines": settings,
        "encoders": [lab.embedder(source).digest if source else "" for source in sources],
    }


def _compute(lab: Lab, measured: Property, track: Track) -> Baselines:
    generated = lab.generated(track=track)
    missing: dict[str, str] = {}
    embedders = _embedders(lab, missing)
    scores = similarity_baselines(lab.data, generated.images, embedders)
    scores |= _influences(lab, generated, missing, track)
    scores |= _application(lab, measured, missing)
    for method in [method for method, values in scores.items() if np.ptp(values) == 0]:
        missing[method] = f"every contributor has the score {float(scores.pop(method)[0]):.4g}"
    return Baselines(scores, missing)


def _embedders(lab: Lab, missing: dict[str, str]) -> dict[str, Embedder]:
    """The spaces of similarity besides the pixels."""
    embedders = {}
    for name, source, how in (
        ("embedding", lab.other_encoder(), "encoder"),
        ("clip", lab.baselines.clip, "clip"),
    ):
        if source:
            embedders[name] = lab.embedder(source)
        else:
            missing[f"{name} similarity"] = f"no encoder is named; give [baselines] {how}"
    return embedders


def _influences(
    lab: Lab, generated: Generated, missing: dict[str, str], track: Track
) -> dict[str, Floats]:
    try:
        return gradient_baselines(
            lab.models.whole(track),
            TrainingSet(lab.data, lab.latents, lab.models.conditions),
            generated,
            lab.baselines.gradients,
            damping=lab.baselines.damping,
            store=lab.store,
            track=track,
        )
    except InputError as error:
        missing["gradient similarity, influence and trak"] = str(error)
        return {}


def _application(lab: Lab, measured: Property, missing: dict[str, str]) -> dict[str, Floats]:
    """The application metric of the training images, where single images have one."""
    label = f"{measured.name}{APPLICATION_END}"
    kind = measured.spec.get("kind")
    if kind in ENTROPIES:
        missing[label] = f"{kind} is one of many images; a single one has none"
        return {}
    if kind == "loss":
        missing[label] = "the loss is one of a network, not of an image"
        return {}
    try:
        return application_baselines(lab.data, measured)
    except Exception as error:  # a property may be a function of the user's
        missing[label] = " ".join(str(error).split()) or type(error).__name__
        return {}
