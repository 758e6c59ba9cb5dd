"""What tests of the index share: a closed map, tiny pipelines and photos."""

import pytest
from latent_model import CLOSED, ENCODER, training_pairs

from wherefrom.origin import fit_edit_map
from wherefrom.origin.edit_map.pairs import EmbeddedPairs


@pytest.fixture(scope="session")
def closed():
    """The map of `training_pairs` in closed form."""
    return fit_edit_map(EmbeddedPairs(*training_pairs(), encoder=ENCODER), config=CLOSED)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of a text-to-image and an InstructPix2Pix pipeline, and of another random one."""
    from tiny_pipelines import write_instruct, write_stable_diffusion

    home = tmp_path_factory.mktemp("models")
    write_stable_diffusion(home / "sd")
    write_instruct(home / "instruct")
    return home


@pytest.fixture(scope="session")
def sd(models):
    from wherefrom.origin.pairs.pipelines import load_pipeline

    return load_pipeline(models / "sd")


@pytest.fixture(scope="session")
def instruct(models):
    from wherefrom.origin.pairs.pipelines import load_pipeline

    return load_pipeline(models / "instruct")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    from tiny_pipelines import write_photos

    return write_photos(tmp_path_factory.mktemp("here") / "photos", 3)
