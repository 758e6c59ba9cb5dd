"""The encoder that comes with the package: found, loaded, and the same as when it was packed."""

from pathlib import Path

import pytest

from wherefrom.core.errors import InputError
from wherefrom.encoders import load_encoder, shipped, shipped_encoders
from wherefrom.encoders.tiny_conv import TinyConvConfig, make_autoencoder, save_autoencoder

SMALL = TinyConvConfig(latent_channels=1, width_half=2, width_quarter=2, width_eighth=2, blocks=0)


def test_the_word_default_is_the_packed_folder__identity_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "assets")
    (tmp_path / "assets").mkdir()
    save_autoencoder(make_autoencoder(SMALL, seed=1), tmp_path / "assets" / "default")
    save_autoencoder(make_autoencoder(SMALL, seed=2), tmp_path / "default")
    packed = load_encoder(tmp_path / "assets" / "default").identity
    assert load_encoder().identity == load_encoder("default").identity == packed
    beside = load_encoder("./default").identity
    assert beside == load_encoder(Path("default")).identity
    assert beside.weights != packed.weights
    assert shipped_encoders() == {"default": tmp_path / "assets" / "default"}


def test_a_package_without_an_encoder__rejects_default(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="ships no encoder; name an autoencoder's folder") as error:
        load_encoder()
    assert "\n" not in str(error.value)
