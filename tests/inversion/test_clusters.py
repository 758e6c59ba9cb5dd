"""Found classes, sorted folders, and the tree of what merges under stronger penalties."""

import dataclasses

import pytest
import torch
from untrained_inverters import blobs, untrained

from wherefrom.core.errors import InputError
from wherefrom.inversion.classes import merge_tree as tree_module
from wherefrom.inversion.classes.clusters import (
    Cluster,
    Clustering,
    cluster_images,
    examples,
    sort_into_classes,
)
from wherefrom.inversion.classes.merge_tree import (
    MergeTree,
    TreeLevel,
    TreeNode,
    TreePlan,
    build_merge_tree,
    stability,
)
from wherefrom.inversion.config import InversionConfig

IMAGES = blobs(30)


class Known:
    """A fitted model whose classes are columns of its images."""

    def __init__(self, prior, labels=1):
        self.prior = torch.tensor(prior).expand(labels, -1)
        self.config = InversionConfig(method="cgpgan")
        self.classes = type("Classes", (), {"labels": labels})

    def classify(self, images):
        q = images.flatten(1)[:, : self.prior.shape[1]]
        return q if self.classes.labels == 1 else torch.stack([q, q.flip(1)], dim=1)


def probabilities(*rows):
    return torch.tensor(rows)


def test_images_go_to_their_likeliest_class_most_certain_first__naive_loop():
    q = probabilities([0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.9, 0.1, 0.0], [0.1, 0.2, 0.7])
    found = cluster_images(Known([0.2, 0.795, 0.005]), q)
    told = {c.label: (c.members, c.alive) for c in found.clusters}
    assert told == {1: ((1,), True), 0: ((2, 0), True), 2: ((3,), False)}
    assert [c.label for c in found.clusters] == [1, 0, 2]
    assert found.clusters[1].certainties == pytest.approx((0.9, 0.6))
    assert found.living == 2 and found.looked_for == 3
    assert found.to_dict()["clusters"][1]["share"] == 0.5
    assert list(found.to_dataframe()["class"]) == ["class-01", "class-00", "class-02"]
    assert "class-02" in found._repr_html_()
    empty = cluster_images(Known([0.2, 0.795, 0.005]), q[:3])
    assert [c.label for c in empty.clusters] == [1, 0]  # dead, and without an image


def test_one_of_several_labels_is_asked_for__closed_form():
    q = probabilities([0.6, 0.3, 0.1])
    second = cluster_images(Known([0.2, 0.3, 0.5], labels=2), q, label=1)
    assert [c.members for c in second.clusters if c.label == 2] == [(0,)]
    with pytest.raises(InputError, match="label 2 does not exist; this model has labels 0 to 1"):
        cluster_images(Known([0.2, 0.3, 0.5], labels=2), q, label=2)


def test_a_real_model_sorts_and_draws_its_classes__identity_partition():
    model = untrained("cgpgan", classes=(1, 5))
    found = cluster_images(model, IMAGES)
    assert sorted(row for c in found.clusters for row in c.members) == list(range(30))
    drawn = examples(model, found.clusters[0], 3)
    assert torch.equal(drawn, model.sample(3, seed=0, label=found.clusters[0].label))
    assert not len(examples(untrained("classifier", classes=(1, 5)), found.clusters[0], 3))
    with pytest.raises(InputError, match="dlsgan finds no classes"):
        cluster_images(untrained(), IMAGES)


def test_files_are_linked_by_class__roundtrip(tmp_path):
    paths = []
    for folder, name in (("a", "x.png"), ("b", "x.png"), ("a", "y.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        paths.append(tmp_path / folder / name)
        paths[-1].write_text(folder)
    clusters = (Cluster(3, 0.6, True, (0, 1), (1.0, 0.9)), Cluster(0, 0.4, True, (2,), (0.8,)))
    found = Clustering((*clusters, Cluster(1, 0.2, True, (), ())), 3, 4)
    sort_into_classes(found, paths, tmp_path / "sorted")
    names = sorted(str(p.relative_to(tmp_path / "sorted")) for p in tmp_path.glob("sorted/*/*"))
    assert names == ["class-00/y.png", "class-03/000001-x.png", "class-03/000002-x.png"]
    assert (tmp_path / "sorted/class-03/000002-x.png").read_text() == "b"
    assert (tmp_path / "sorted/class-00/y.png").is_symlink()
    sort_into_classes(found, paths, tmp_path / "copied", copy=True)
    assert not (tmp_path / "copied/class-00/y.png").is_symlink()
    with pytest.raises(InputError, match="already exists"):
        sort_into_classes(found, paths, tmp_path / "sorted")
    with pytest.raises(InputError, match="there are 2 paths"):
        sort_into_classes(found, paths[:2], tmp_path / "new")


def plan(**settings):
    return TreePlan(penalties=(10.0, 0.1), **settings)


def fake_fit(images, *, config, seed, device, track):
    """Four classes below a penalty of 5, two from there on; the seed renames, and 9 disturbs."""
    merged = config.class_penalty >= 5
    prior = [0.5, 0.5, 0.0, 0.0] if merged else [0.25] * 4
    known = Known(prior)

    def classify(x):
        truth = x[:, 0].long()
        rows = truth // 2 if merged else truth
        if seed == 1:
            rows = (1 - rows) if merged else (rows + 1) % 4
        if seed == 9 and not merged:
            rows = torch.where(torch.arange(len(x)) % 2 == 0, 3 - rows, rows)
        return torch.nn.functional.one_hot(rows, 4).float()

    known.classify = classify
    return known


def test_a_warm_tree_goes_on_from_the_penalty_before__closed_form(monkeypatch):
    calls = []

    def noted(images, *, config, seed, start=None, **options):
        calls.append((config.class_penalty, seed, config.steps, config.uniform_share, start))
        known = fake_fit(images, config=config, seed=0, **options)
        known.came = (config.class_penalty, seed)
        return known

    monkeypatch.setattr(tree_module, "fit", noted)
    monkeypatch.setattr(
        tree_module, "fit_from", lambda start, images, **o: noted(images, start=start, **o)
    )
    data = torch.arange(4.0).repeat(10)[:, None].expand(-1, 2)
    config = InversionConfig(method="cgpgan", steps=100)
    build_merge_tree(data, plan(seeds=(0, 1), warm_steps=7), config=config)
    told = [(*call[:4], call[4] and call[4].came) for call in calls]
    assert told == [
        (0.1, 0, 100, 0.3, None),
        (0.1, 1, 100, 0.3, None),
        (10.0, 0, 7, 0.0, (0.1, 0)),
        (10.0, 1, 7, 0.0, (0.1, 1)),
    ]
    calls.clear()
    build_merge_tree(data, plan(), config=config)
    assert [(call[2], call[4]) for call in calls] == [(100, None)] * 2
    with pytest.raises(InputError, match="warm steps"):
        plan(warm_steps=0)


def test_a_tree_of_a_sorted_folder_sees_every_class__closed_form(monkeypatch):
    """40 images sorted by class, of which 8 are put into classes: two of each."""
    monkeypatch.setattr(tree_module, "fit", fake_fit)
    data = torch.arange(4.0).repeat_interleave(10)[:, None].expand(-1, 2)
    config = InversionConfig(method="cgpgan")
    tree = build_merge_tree(data, plan(max_sorted=8), config=config)
    assert tree.images == 8
    assert [node.share for node in tree.levels[0].nodes] == [0.25] * 4


def test_the_tree_joins_what_merges__closed_form(monkeypatch):
    monkeypatch.setattr(tree_module, "fit", fake_fit)
    data = torch.arange(4.0).repeat(10)[:, None].expand(-1, 2)
    config = InversionConfig(method="cgpgan")
    kept = []
    tree = build_merge_tree(
        data,
        plan(seeds=(0, 1, 9)),
        config=config,
        keep=lambda penalty, seed, model: kept.append((penalty, seed)),
    )
    assert [level.penalty for level in tree.levels] == [0.1, 10.0]
    assert [level.living for level in tree.levels] == [(4, 4, 4), (2, 2, 2)]
    edges = [(edge.child, edge.parent, edge.share) for edge in tree.edges]
    assert edges == [(0, 0, 1.0), (1, 0, 1.0), (2, 1, 1.0), (3, 1, 1.0)]
    assert tree.levels[1].stability == pytest.approx(1.0)
    assert tree.levels[0].stability < 0.7
    assert tree.suggested.penalty == 10.0
    assert kept == [(p, s) for p in (0.1, 10.0) for s in (0, 1, 9)]
    assert [node.share for node in tree.levels[0].nodes] == [0.25] * 4
    agreeing = build_merge_tree(data, plan(seeds=(0, 1)), config=config)
    assert agreeing.suggested.penalty == 0.1  # as stable, with more classes
    assert tree.to_dict()["suggested"]["penalty"] == 10.0


def test_stability_is_1_up_to_names_and_0_by_chance__limit():
    one = torch.arange(4).repeat(100)
    assert stability([one, 3 - one]) == pytest.approx(1)
    rng = torch.Generator().manual_seed(0)
    assert abs(stability([one, one[torch.randperm(400, generator=rng)]])) < 0.05
    assert stability([one]) is None


def test_a_single_class_is_no_finding__limit():
    lone = TreeLevel(100.0, (1, 1), (TreeNode(0, 1.0, 1.0),), 1.0)
    some = TreeLevel(1.0, (3, 2), (TreeNode(0, 0.5, 0.5), TreeNode(1, 0.5, 0.5)), 0.4)
    assert MergeTree((some, lone), (), 10, (0, 1)).suggested == some
    assert (
        MergeTree((lone, dataclasses.replace(lone, penalty=200.0)), (), 10, (0,)).suggested == lone
    )


def test_a_tree_of_something_else__rejects_input():
    with pytest.raises(InputError, match="a merge tree is of cgpgan, not of dlsgan"):
        build_merge_tree(IMAGES, plan(), config=InversionConfig())
    with pytest.raises(InputError, match="two or more penalties"):
        TreePlan(penalties=(1.0, 1.0))
    with pytest.raises(InputError, match="different seeds"):
        plan(seeds=(1, 1))
