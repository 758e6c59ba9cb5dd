"""The gain that shares will divide, as far as it is known before any run is made."""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.core.progress import Track, quiet
from wherefrom.credit.diffusion.model import Diffusion, sample
from wherefrom.credit.method import OpenStudy
from wherefrom.credit.properties import Made, measure
from wherefrom.credit.running.diffusion_run import START, DiffusionPlay
from wherefrom.data.writing import to_uint8

IMAGES = 256  # sampled of each model, at most those of a run


@dataclass(frozen=True)
class Foreseen:
    """A property, in its own units, of the empty set's model and of the one that runs start from.

    The full set's is not known before it is run; the starting model's stands for it.
    """

    name: str
    empty: float
    start: float

    @property
    def gain(self) -> float:
        """What shares will add up to, about."""
        return self.start - self.empty

    def line(self, empty: str) -> str:
        """One sentence; `empty` is the setting in [game]."""
        text = (
            f"{self.name}, before any run: {self.empty:.4g} of the empty set ({empty}) and "
            f"{self.start:.4g} of the model that runs start from"
        )
        if empty == START:
            return (
                f"{text}; these are one model, so the gain is what more training on all data adds, "
                "and a payout may refuse it; `empty` in [game] has other choices"
            )
        text += f": a gain of about {self.gain:.4g}"
        if self.gain <= 0:
            return f"{text}, which a payout would refuse; choose another property"
        return (
            f"{text}; as far as it comes with the starting model it is divided equally, and runs "
            "tell what contributors differ by"
        )


def foresee_gain(opened: OpenStudy, *, track: Track = quiet) -> tuple[Foreseen, ...]:
    """Sample and measure both models, without training; nothing for games without them.

    At most `IMAGES` images each; a property that cannot be measured is left out.
    """
    play = opened.play
    if not isinstance(play, DiffusionPlay) or play.kind == "retrain":
        return ()

    def made(model: Diffusion) -> Made:
        few = min(IMAGES, play.sampling.images)
        images = sample(model, play.sampling.with_values({"images": few}), track=track)
        return Made(to_uint8(images), model)

    # A LoRA game has one network for both, so each is measured before the other is made.
    empty, _ = measure(play.properties, made(play.nobody(0)))
    start, _ = measure(play.properties, made(play.start(0)))
    return tuple(
        Foreseen(name, empty[name], start[name])
        for name in opened.specs
        if name in empty and name in start
    )
