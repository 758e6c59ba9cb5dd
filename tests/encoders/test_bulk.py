"""Embedding by the actors of a Ray cluster: the same rows in the same order, whoever dies."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.encoders import make_encoder
from wherefrom.encoders.bulk import MAX_ATTEMPTS, RayEmbedding, embed_here
from wherefrom.encoders.tiny_conv import TinyConvConfig, as_encoder, make_autoencoder

SMALL = TinyConvConfig(latent_channels=2, width_half=4, width_quarter=4, width_eighth=4, blocks=0)


class Fragile(torch.nn.Module):
    """Halves images; ends its process at a white one, until the file `mark` has `deaths` lines."""

    def __init__(self, mark, deaths):
        super().__init__()
        self.mark, self.deaths = Path(mark), deaths

    def forward(self, x):
        died = len(self.mark.read_text()) if self.mark.exists() else 0
        if float(x.min()) == 1.0 and died < self.deaths:
            self.mark.write_text("x" * (died + 1))
            os._exit(1)
        return torch.nn.functional.avg_pool2d(x, 64)


@pytest.fixture
def batches():
    rng = torch.Generator().manual_seed(3)
    return [(number, torch.rand(1 + number % 3, 3, 40, 48, generator=rng)) for number in range(7)]


def columns(pairs):
    keys, rows = zip(*pairs, strict=True)
    return list(keys), torch.cat(rows)


def test_no_device_and_no_ray__rejects_unusable_settings(monkeypatch, batches):
    encoder = as_encoder(make_autoencoder(SMALL, seed=1))
    with pytest.raises(InputError, match="no device is given"):
        next(RayEmbedding(())(encoder, batches))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"wherefrom\[ray\]"):
        next(RayEmbedding()(encoder, batches))


def test_a_cluster_that_is_not_there__rejects_address(monkeypatch, batches):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    encoder = as_encoder(make_autoencoder(SMALL, seed=1))
    for settings in (RayEmbedding(address=address), RayEmbedding(address=f"ray://{address}")):
        with pytest.raises(InputError, match=f"no Ray cluster answers at .*{address}"):
            next(settings(encoder, batches))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:99999")
    with pytest.raises(InputError, match="no Ray cluster answers"):
        next(RayEmbedding()(encoder, batches))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_actors_give_what_this_process_gives__reference_local(tmp_path, batches, monkeypatch):
    pytest.importorskip("ray")
    # Ray's processes find modules by the environment, not by this process's path.
    folders = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    encoder = as_encoder(make_autoencoder(SMALL, seed=1))
    for many, kind in ((("cpu",) * 999, "CPU"), (("cpu", "cuda:7"), "GPU")):
        with pytest.raises(InputError, match=f"need .* {kind}s, and the Ray cluster has"):
            next(RayEmbedding(many)(encoder, batches))
    drawn, two = [], RayEmbedding(("cpu", "cpu"))

    def watched():
        for batch in batches:
            drawn.append(batch[0])
            yield batch

    result = two(encoder, watched())
    first = next(result)
    assert len(drawn) <= 4  # it reads no further ahead than it has workers
    names, rows = columns([first, *result])
    expected_names, expected = columns(embed_here(encoder, batches))
    assert names == expected_names
    assert torch.equal(rows, expected)

    batches[3] = (3, torch.ones(1, 3, 40, 48))
    fragile = make_encoder(Fragile(tmp_path / "a", MAX_ATTEMPTS - 1), kind="fragile", config={})
    names, rows = columns(two(fragile, batches))
    assert (tmp_path / "a").read_text() == "x" * (MAX_ATTEMPTS - 1)
    assert names == expected_names
    assert torch.equal(rows, columns(embed_here(fragile, batches))[1])
    fragile = make_encoder(Fragile(tmp_path / "b", 99), kind="fragile", config={})
    with pytest.raises(InputError, match="3 workers in a row died while embedding"):
        list(two(fragile, batches))
