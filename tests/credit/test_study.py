"""Studies from their file to finished runs, in this process."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from studies import NETWORK, PROPERTIES, write_images, write_study

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.contributors.reading import contributors_from_csv, contributors_from_folders
from wherefrom.credit.diffusion.model import sample, start_weight
from wherefrom.credit.ledger.game import run_key
from wherefrom.credit.ledger.worker import work
from wherefrom.credit.method import open_study, rescore
from wherefrom.credit.study.diffusion_run import EMPTIES
from wherefrom.credit.study.file import load_study
from wherefrom.data.images.writing import to_uint8

pytestmark = pytest.mark.needs("diffusers")


def play_here(path, runs=8, masks=range(8)):
    """Open a study and make its runs in this process: the opened study and what it recorded."""
    opened = open_study(path)
    with opened.ledger() as ledger:
        ledger.plan([run for run in opened.design().take(runs) if run.mask in masks])
        work(ledger, opened.play)
        assert ledger.problems() == []
        return opened, ledger.runs("diversity"), ledger.details()


def test_a_retraining_study_twice__identity_seed(tmp_path):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        opened, table, details = play_here(write_study(tmp_path / name, players=2))
        found.append(table.values)
        assert table.masks.shape == (4, 2)
        assert opened.play.kind == "retrain"
        assert {detail["start_weight"] for _, run, detail in details if run.mask} == {0.0}
        assert set(details[-1][2]["seconds"]) == {"training", "sampling", "scoring"}
    assert np.array_equal(found[0], found[1])
    assert len(set(found[0].tolist())) == 4  # every subset gives another model


@pytest.mark.parametrize("kind", ["fine-tune", "sparsified"])
def test_fine_tuning_begins_at_the_full_model__identity_start(tmp_path, kind):
    opened, _, details = play_here(write_study(tmp_path, kind=kind), masks=(7,))
    weights = {run.mask: detail["start_weight"] for _, run, detail in details if run.mask}
    assert weights[7] == pytest.approx(start_weight(2, 0.5))
    again = open_study(opened.study.path)  # from the work folder, without training
    assert again.identity == opened.identity
    first, second = opened.play.start(1).network, again.play.start(2).network
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    full = open_study(write_study(tmp_path, kind="fine-tune")).play.start(0).network
    counts = [sum(p.numel() for p in network.parameters()) for network in (first, full)]
    assert (counts[0] < counts[1]) == (kind == "sparsified")


def images_by_mask(folder, kind, empty, *, keep="images", masks):
    """Digests of what the runs made, of a study of two contributors in a folder of its own."""
    folder.mkdir()
    extra = f"empty = '{empty}'\nkeep = '{keep}'\n"
    path = write_study(folder, kind=kind, extra=extra, players=2)
    opened, _, details = play_here(path, masks=masks)
    return opened, {run.mask: detail["images"] for _, run, detail in details}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """What retraining makes of each subset."""
    folder = tmp_path_factory.mktemp("truth") / "s"
    return images_by_mask(folder, "retrain", "untrained", masks=(0, 1, 3))[1]


@pytest.mark.parametrize("kind", ["fine-tune", "sparsified"])
def test_what_the_empty_set_is__identity_retraining(tmp_path, kind, truth):
    """Untrained as in retraining; retrained: the full set too; start: the model of all data."""
    masks = {"untrained": (0, 1, 3), "retrained": (0, 3), "start": (0, 1, 3)}
    by_empty = {
        name: images_by_mask(tmp_path / name, kind, name, masks=masks[name]) for name in EMPTIES
    }
    untrained, retrained, start = (
        by_empty[name][1] for name in ("untrained", "retrained", "start")
    )
    assert untrained[0] == retrained[0] == truth[0] != start[0]
    assert retrained[3] == truth[3] != untrained[3] == start[3]
    # A part's run is the same, whatever the empty set's is.
    assert untrained[1] == start[1] != truth[1]
    opened = by_empty["start"][0]
    images = to_uint8(sample(opened.play.start(9), opened.play.sampling))
    assert digest_tensors({"images": images}) == start[0]
    assert len({opened.identity.digest for opened, _ in by_empty.values()}) == 3
    assert "empty" not in opened.identity.spec  # ledgers of earlier versions can be read


def test_networks_of_untrained_runs_are_kept_too__roundtrip(tmp_path):
    """They are not pruned, unlike those of the other runs."""
    opened, _ = images_by_mask(
        tmp_path / "s", "sparsified", "untrained", keep="weights", masks=(0, 3)
    )
    with opened.ledger() as ledger:
        keys = {run.mask: key for key, run, _ in ledger.details()}
    sizes = []
    for mask in (0, 3):
        made, _ = opened.play.load(opened.play.outputs / keys[mask])
        sizes.append(sum(p.numel() for p in made.model.network.parameters()))
    assert sizes[0] > sizes[1]


def test_the_proxy_samples_the_conditions_of_the_subset__identity_conditions(tmp_path):
    path = write_study(tmp_path, kind="conditional-proxy", network=NETWORK + "conditional = true\n")
    opened, table, _ = play_here(path)
    given = opened.play._conditions(np.array([False, True, False]))
    assert given.tolist() == [1, 1, 1]
    both = opened.play._conditions(np.array([True, False, True]))
    assert set(both.tolist()) <= {0, 2}
    assert len(set(table.values.tolist())) > 4


@pytest.mark.parametrize("kind", ["gradient-ascent", "influence-unlearning"])
def test_unlearning_makes_the_loss_on_removed_images_larger__identity_sign(tmp_path, kind):
    from wherefrom.credit.diffusion.unlearning import UnlearningConfig, unlearn

    opened = open_study(write_study(tmp_path, kind=kind))
    play, gone = opened.play, torch.tensor([True, True, False, False, False, False])
    loss = next(
        p for p in _measures(opened, "[[property]]\nkind = 'loss'\ndraws = 4\n") if p.name == "loss"
    )
    before = play.start(0)
    # Small steps, for which the gradient alone decides the sign.
    config = UnlearningConfig(steps=5, batch=4, learning_rate=1e-2, damping=1e3, draws=16)
    after = unlearn(
        play.start(0), play.latents, opened.data.labels, gone, config, kind=kind, seed=0
    )
    whole = unlearn(play.start(0), play.latents, opened.data.labels, gone & False, config,
                    kind=kind, seed=0)  # fmt: skip
    from wherefrom.credit.diffusion.properties import RunOutput

    images = opened.data.images
    values = [loss(RunOutput(images, model)) for model in (before, after, whole)]
    assert values[1] < values[0]
    assert values[2] == values[0]


def _measures(opened, text):
    from wherefrom.credit.study.tools import Lab

    path = write_study(opened.study.path.parent, kind="fine-tune", properties=text)
    study = load_study(path)
    first_two = type(opened.data)(
        names=opened.data.names[:2],
        images=opened.data.images[:2],
        owner=torch.tensor([0, 1]),
        labels=opened.data.labels[:2],
        paths=(),
    )
    models = SimpleNamespace(full=None, conditions=first_two.labels)
    return Lab(study, first_two, models, "cpu").properties


def test_latent_diffusion__identity_seed(tmp_path):
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    AutoencoderTiny(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=2,
    ).save_pretrained(tmp_path / "vae")
    network = NETWORK + "kind = 'latent'\nautoencoder = 'vae'\n"
    properties = PROPERTIES.replace('"frechet"', '"loss"')
    path = write_study(tmp_path, network=network, properties=properties, extra="keep = 'weights'\n")
    opened, table, _ = play_here(path, runs=3)
    assert opened.play.latents.shape == (6, 2, 4, 4)
    assert len(set(table.values.tolist())) == 3
    with opened.ledger(readonly=True) as ledger:
        assert len(set(ledger.runs("distance").values.tolist())) == 3
    path = write_study(tmp_path, network=NETWORK + "kind = 'latent'\n")
    with pytest.raises(InputError, match="needs its autoencoder"):
        open_study(path)


def test_new_properties_of_old_runs__identity_rescore(tmp_path):
    path = write_study(tmp_path, extra="keep = 'weights'\n", players=2)
    opened, before, _ = play_here(path)
    more = PROPERTIES + "[[property]]\nkind = 'loss'\n[[property]]\nkind = 'similarity'\n"
    more += "reference = 'data/c0/0.png'\n"
    opened = open_study(write_study(tmp_path, extra="keep = 'weights'\n", properties=more))
    with opened.ledger() as ledger:
        assert rescore(opened, ledger) == 4
        assert ledger.problems() == []
        assert np.array_equal(ledger.runs("diversity").values, before.values)
        losses = ledger.runs("loss").values
        assert len(set(losses.tolist())) == 4
        assert (losses < 0).all()
        assert len(ledger.runs("similarity").values) == 4
        assert rescore(opened, ledger) == 0


def test_a_run_that_was_made_but_not_recorded_is_taken_over__identity_kept(tmp_path):
    opened, table, _ = play_here(write_study(tmp_path), runs=2)
    opened.study.ledger.unlink()
    object.__setattr__(opened.play, "start", None)  # would fail if anything were trained
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(2))
        work(ledger, opened.play)
        assert np.array_equal(ledger.runs("diversity").values, table.values)


def test_changed_data_under_an_old_ledger__rejects_it(tmp_path):
    path = write_study(tmp_path)
    open_study(path).ledger().close()
    target, source = tmp_path / "data" / "c1" / "0.png", tmp_path / "data" / "c0" / "0.png"
    target.write_bytes(source.read_bytes())
    assert load_study(path).contributors().shared == (("c0", "c1", 1),)
    with pytest.raises(InputError, match=r"runs on other data .changed: c1"):
        open_study(path)  # before anything is trained on it


def test_a_game_of_the_users_own__closed_form(tmp_path):
    (tmp_path / "mygame_credit.py").write_text(
        "def value(names, seed):\n    return {'score': len(names) + 0.5, 'second': float('nan')}\n"
    )
    text = "".join(f"[[property]]\nkind = 'callable'\nname = '{n}'\n" for n in ("score", "second"))
    path = write_study(
        tmp_path, kind="callable", extra="callable = 'mygame_credit:value'\n", properties=text
    )
    opened = open_study(path)
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(8))
        work(ledger, opened.play)
        table = ledger.runs("score")
        assert table.values.tolist() == (table.masks.sum(1) + 0.5).tolist()
        assert {p.what for p in ledger.problems()} == {"second"}
        assert len(ledger.problems()) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("width = 8", "widht = 8"), "no setting 'widht'; did you mean 'width'"),
        (("[design]", "[desing]"), "no setting 'desing'; did you mean 'design'"),
        (("kind = 'retrain'", "kind = 'retain'"), "choose one of"),
        (("steps = 2", "steps = -2"), "at least 0"),
        (("folder = 'data'", "folder = 'none'"), "is not a folder"),
        (("folder = 'data'", ""), "needs a folder or a table"),
        (("groups = 4", "groups = 3"), "no UNet2DModel can be made"),
        (("name = \"distance\"", "name = \"diversity\""), "two properties are named 'diversity'"),
        (("kind = \"diversity\"", "kind = \"diversty\""), "choose one of"),
        (("[game]", "[game"), "is not TOML"),
    ],
    ids=lambda value: value[1][:12] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_study_files_with_faults__rejects_them(tmp_path, change, message):
    path = write_study(tmp_path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(InputError, match=message):
        open_study(path).ledger()


def test_contributors_with_faults__rejects_them(tmp_path):
    write_images(tmp_path / "one", players=1)
    with pytest.raises(InputError, match="1 contributor; credit is shared among at least 2"):
        contributors_from_folders(tmp_path / "one", channels=1, size=8)
    write_images(tmp_path / "d", players=2)
    (tmp_path / "d" / "empty").mkdir()
    with pytest.raises(InputError, match="'empty' has no usable image"):
        contributors_from_folders(tmp_path / "d", channels=1, size=8)
    (tmp_path / "d" / "empty" / "x.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"'empty' has no usable image .first problem"):
        contributors_from_folders(tmp_path / "d", channels=1, size=8)


def test_a_csv_map__reference_folders(tmp_path):
    write_images(tmp_path / "d", players=2)
    lines = [f"d/c{p}/{i}.png,c{p},{i},text {i}" for p in (1, 0) for i in (0, 1)]
    table = tmp_path / "map.csv"
    table.write_text("path,contributor,label,prompt\n" + "\n".join(lines) + "\n")
    mapped = contributors_from_csv(table, channels=1, size=8)
    folders = contributors_from_folders(tmp_path / "d", channels=1, size=8)
    assert mapped.names == folders.names
    assert torch.equal(mapped.images, folders.images)
    assert mapped.labels.tolist() == [0, 1, 0, 1]
    assert folders.labels.tolist() == [0, 0, 1, 1]
    assert mapped.prompts == ("text 0", "text 1") * 2
    assert mapped.chosen(np.array([False, True])).tolist() == [2, 3]
    assert mapped.digests() != folders.digests()  # labels and prompts count
    for row, message in (
        ("d/c0/0.png,", "line 6: the contributor has no name"),
        ("d/none.png,c0", "line 6: there is no file"),
        ("d/c0/0.png,c0", "line 6: .* is there twice"),
        ("d/c0/0.png,c1,x", "label 'x'"),
    ):
        table.write_text("path,contributor,label,prompt\n" + "\n".join([*lines, row]) + "\n")
        with pytest.raises(InputError, match=message):
            contributors_from_csv(table, channels=1, size=8)
    table.write_text("file,who\na,b\n")
    with pytest.raises(InputError, match="has the columns file, who"):
        contributors_from_csv(table, channels=1, size=8)


def test_a_damaged_run_is_recorded__rejects_damage(tmp_path):
    opened, _, details = play_here(write_study(tmp_path), runs=1)
    key = run_key(opened.identity.digest, details[0][1].mask, details[0][1].seed)
    (opened.study.work / "runs" / key / "tensors.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="changed or cut short"):
        opened.play.rescore(key)


def test_the_network_of_the_paper__closed_form(tmp_path):
    from wherefrom.credit.study.models import untrained_model

    path = write_study(tmp_path, network="[model]\npaper = true\n")
    path.write_text(path.read_text().replace("channels = 1", "channels = 3"))
    study = load_study(path)
    data = study.contributors()
    with torch.device("meta"):  # 35 million numbers take seconds to draw
        network = untrained_model(study, data, device="meta").network
    assert sum(p.numel() for p in network.parameters()) == 35_746_307
