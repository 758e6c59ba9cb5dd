"""A study that changes under its runs: nothing of another meaning gets into shares."""

import sqlite3

import pytest
from studies import NETWORK, write_study

from wherefrom.core.errors import InputError
from wherefrom.credit import method
from wherefrom.credit.ledger.ledger import MAX_ATTEMPTS
from wherefrom.credit.ledger.worker import work
from wherefrom.credit.method import open_study, play_of, run_study

pytestmark = pytest.mark.needs("diffusers")

COUNT = "def value(names, seed):\n    return float(len(names))\n"


def counting(folder, *, version="1", code=COUNT, module="counting_credit"):
    """A study whose game counts its players, in no time."""
    (folder / f"{module}.py").write_text(code)
    extra = f"callable = '{module}:value'\nversion = '{version}'\n"
    properties = "[[property]]\nkind = 'callable'\nname = 'score'\n"
    return write_study(folder, kind="callable", extra=extra, properties=properties)


def test_a_worker_refuses_a_recipe_that_was_edited_meanwhile__rejects_it(tmp_path):
    path = write_study(tmp_path)
    opened = open_study(path)
    assert play_of(path, opened.digest, "cpu").game == opened.identity.digest
    text = path.read_text()
    path.write_text(text.replace("steps = 2\nbatch = 4", "steps = 1\nbatch = 4", 1))
    with pytest.raises(InputError, match="changed while runs were made"):
        play_of(path, opened.digest, "cpu")
    path.write_text(text.replace('name = "distance"', 'name = "far"'))
    with pytest.raises(InputError, match="changed while runs were made"):
        play_of(path, opened.digest, "cpu")  # the same game, but other values
    path.write_text(text)
    play_of(path, opened.digest, "cpu")


def test_values_of_a_property_that_was_redefined_are_not_reported__rejects_them(tmp_path):
    (tmp_path / "measured_credit.py").write_text("def value(images):\n    return images.sum()\n")
    named = "[[property]]\nkind = 'callable'\nname = 'sum'\ncallable = 'measured_credit:value'\n"
    path = write_study(tmp_path, properties=named)
    opened = open_study(path)
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(2))
        work(ledger, opened.play)
    with opened.ledger(readonly=True) as ledger:
        before = ledger.runs("sum").values.tolist()
    write_study(tmp_path, properties=named + "version = '2'\n")
    with pytest.raises(InputError, match=r"'sum' in another way than .* measures it again"):
        open_study(path).ledger(readonly=True)
    with open_study(path).ledger() as ledger:
        assert len(ledger.unscored("sum")) == 2
    write_study(tmp_path, properties=named)
    open_study(path).ledger().close()
    with open_study(path).ledger(readonly=True) as ledger:
        assert ledger.runs("sum").values.tolist() == before


def test_runs_killed_with_their_driver_are_made_at_last__limit(tmp_path, monkeypatch):
    path = counting(tmp_path)
    monkeypatch.setitem(
        method.EXECUTORS, "local", lambda ledger, make, **_: work(ledger, make("cpu"))
    )
    opened = open_study(path)
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(2))
    for _ in range(MAX_ATTEMPTS):  # a driver leases a run, and the machine goes down
        with opened.ledger() as ledger:
            assert ledger.claim_next(seconds=-1) is not None
            ledger.forget_deaths()
    assert run_study(opened, runs=2) == {"planned": 0, "leased": 0, "done": 2, "failed": 0}


def test_every_run_forgets_the_deaths_before_it__identity_forget(tmp_path, monkeypatch):
    opened = open_study(counting(tmp_path))
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(2))
    with sqlite3.connect(opened.study.ledger) as base:
        base.execute("UPDATE runs SET attempts = ?", (MAX_ATTEMPTS - 1,))
    base.close()
    seen = []

    def die_once(ledger, make, **_):
        ledger.lost(ledger.claim_next())
        seen.append(ledger.counts()["failed"])

    monkeypatch.setitem(method.EXECUTORS, "local", die_once)
    run_study(opened, runs=2, devices=("cpu",))
    assert seen == [0]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def value(:\n", "SyntaxError"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n", "has no attribute 'value'"),
        ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines; correct the module"),
    ],
)
def test_modules_with_faults__rejects_them(tmp_path, code, problem):
    module = f"faulty_credit_{len(code)}"
    with pytest.raises(InputError, match=problem) as caught:
        open_study(counting(tmp_path, code=code, module=module))
    assert "\n" not in str(caught.value)


def test_an_encoder_that_raises__rejects_it(tmp_path):
    (tmp_path / "raising_credit.py").write_text("def load():\n    return 1 / 0\n")
    properties = "[[property]]\nkind = 'diversity'\nencoder = 'raising_credit:load'\n"
    with pytest.raises(InputError, match=r"raising_credit:load.* raises ZeroDivisionError"):
        open_study(write_study(tmp_path, properties=properties))


def test_the_proxy_of_a_model_without_conditions__rejects_it(tmp_path):
    with pytest.raises(InputError, match="set conditional = true"):
        open_study(write_study(tmp_path, kind="conditional-proxy"))


def test_grey_images_stay_grey_on_latents__identity_channels(tmp_path):
    import torch
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    blocks = {f"{part}_block_out_channels": (4, 4) for part in ("encoder", "decoder")}
    counts = {f"num_{part}_blocks": (1, 1) for part in ("encoder", "decoder")}
    AutoencoderTiny(**blocks, **counts, latent_channels=2).save_pretrained(tmp_path / "vae")
    opened = open_study(
        write_study(tmp_path, network=NETWORK + "kind = 'latent'\nautoencoder = 'vae'\n")
    )
    codec = opened.lab.models.blank(0).codec
    own = codec.autoencoder.scale.restored(opened.play.latents)
    coloured = codec.autoencoder.vae.decode(own).sample
    expected = (coloured / 2 + 0.5).clamp(0, 1).mean(1, keepdim=True)
    assert torch.allclose(codec.decode(opened.play.latents), expected, atol=1e-6)
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(1))
        work(ledger, opened.play)
        assert ledger.problems() == []
        assert len(ledger.runs("distance").values) == 1
