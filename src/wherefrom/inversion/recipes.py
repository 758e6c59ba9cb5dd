"""What sets the methods apart: one row each.  The rest of the package never asks for a name.

Cho: Deep Generative Models and Their Inversions, PhD thesis, Concordia University, 2025.  A new
method is a row here and a step in `training`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Head(Enum):
    """What a network reads from an image."""

    SCORE = "score"  # one adversarial value
    SCORES = "scores"  # one adversarial value per class
    CODE = "code"
    LOG_VARIANCE = "log-variance"  # of the code
    LOGITS = "logits"  # of the classes


class ClassSource(Enum):
    """Where the classes of images come from."""

    NONE = "none"
    LABELS = "labels"  # given with the images
    FOUND = "found"  # discovered in training


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Step, networks, classes, penalties and scale of a method."""

    step: str  # a function of `training.steps_latent` or `training.steps_classes`
    critic: tuple[Head, ...] = ()  # empty: there is no such network
    encoder: tuple[Head, ...] = ()
    classifier: tuple[Head, ...] = ()
    classes: ClassSource = ClassSource.NONE
    generates_classes: bool = False  # the generator is given a class beside its latent
    generates: bool = True
    rectified: bool = False  # the classifier reads a code that is never below 0
    penalties: tuple[float, float] = (0.1, 0.0)  # R1, R2 of the thesis' experiments
    dynamic_scale: bool = False  # Eq. 32; else s = 1
    traces_codes: bool = False  # v is averaged, although the critic has no code
    has_prior: bool = True  # of its codes; without it they are calibrated on training images
    fixed_directions: bool = False  # classes are a fixed linear function of z o s, Eq. 36
    learns_prior: bool = False  # P(C) by gradient
    class_loss: str = ""  # added to the adversarial loss: "acgan", "revised"
    may_invert: bool = False  # the setting `inverts` gives the critic a code
    may_mix: bool = False  # batches of real and generated images
    may_pair: bool = True  # real and generated images for the relativistic loss

    @property
    def labelled(self) -> bool:
        """Whether it learns from labels."""
        return self.classes is ClassSource.LABELS

    @property
    def discovers(self) -> bool:
        """Whether it finds classes by itself."""
        return self.classes is ClassSource.FOUND

    @property
    def has_code(self) -> bool:
        """Whether one of its networks gives a code, whatever the settings."""
        return self.rectified or Head.CODE in (*self.critic, *self.encoder)


_INVERTING = Recipe(step="inverting_step", critic=(Head.SCORES, Head.CODE))
_LABELLED = Recipe(
    step="labelled_step",
    critic=(Head.SCORE, Head.LOGITS),
    classes=ClassSource.LABELS,
    generates_classes=True,
    penalties=(1.0, 1.0),
    may_mix=True,
)
_DISCOVERING = Recipe(
    step="infogan_classes_step",
    critic=(Head.SCORE,),
    classifier=(Head.LOGITS,),
    classes=ClassSource.FOUND,
    generates_classes=True,
    penalties=(0.0, 1.0),
    may_pair=False,
)
RECIPES: dict[str, Recipe] = {
    "dlsgan": replace(_INVERTING, dynamic_scale=True),
    "msegan": _INVERTING,
    "infogan": replace(_INVERTING, critic=(Head.SCORES, Head.CODE, Head.LOG_VARIANCE)),
    "gan": Recipe(
        step="separate_step", critic=(Head.SCORE,), encoder=(Head.CODE,), traces_codes=True
    ),
    "pvdgan": replace(_INVERTING, step="pvdgan_step", dynamic_scale=True),
    "vaegan": Recipe(
        step="vaegan_step", critic=(Head.SCORE,), encoder=(Head.CODE, Head.LOG_VARIANCE)
    ),
    "aedlsgan": replace(
        _INVERTING,
        classes=ClassSource.LABELS,
        dynamic_scale=True,
        fixed_directions=True,
        may_pair=False,
    ),
    "cagan": replace(_LABELLED, critic=(Head.SCORES,), may_invert=True),
    "acgan": replace(_LABELLED, class_loss="acgan"),
    "revised-acgan": replace(_LABELLED, class_loss="revised"),
    "cgpgan": replace(_DISCOVERING, step="cgpgan_step", critic=(Head.SCORES,), may_invert=True),
    "infogan-classes": _DISCOVERING,
    "elastic-infogan": replace(_DISCOVERING, learns_prior=True),
    "autoencoder": Recipe(step="autoencoder_step", encoder=(Head.CODE,), has_prior=False),
    "classifier": Recipe(
        step="classifier_step",
        classifier=(Head.LOGITS,),
        classes=ClassSource.LABELS,
        generates=False,
        rectified=True,
    ),
}
METHODS = tuple(RECIPES)
LABELLED = tuple(name for name, recipe in RECIPES.items() if recipe.labelled)
CAN_INVERT = tuple(name for name, recipe in RECIPES.items() if recipe.may_invert)
