"""The table of methods: every step exists, and the networks are those of the row."""

import pytest
from untrained_inverters import untrained

from wherefrom.inversion.recipes import METHODS, RECIPES, ClassSource, Head
from wherefrom.inversion.training.task import STEPS


def test_every_row_has_a_step_and_every_step_a_row__identity_table():
    assert {recipe.step for recipe in RECIPES.values()} == set(STEPS)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_has_the_networks_of_its_row__identity_table(name):
    recipe = RECIPES[name]
    networks = untrained(name, classes=(1, 3)).networks
    for part in ("critic", "encoder", "classifier"):
        network, heads = getattr(networks, part), getattr(recipe, part)
        assert (network is not None) == bool(heads)
        if network is not None:
            assert bool(network.heads.code) == (Head.CODE in heads)
            assert bool(network.heads.log_variance) == (Head.LOG_VARIANCE in heads)
            assert bool(network.heads.logits[1]) == (Head.LOGITS in heads)
            assert (
                network.heads.scores[1]
                == {True: 3, False: int(Head.SCORE in heads)}[Head.SCORES in heads]
            )
    assert (networks.generator is not None) == recipe.generates
    if networks.generator is not None:
        assert (networks.generator.classes > 1) == recipe.generates_classes
    assert not recipe.generates_classes or recipe.classes is not ClassSource.NONE
