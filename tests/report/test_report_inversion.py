"""Pages and tables of inversion: what they say, what they escape, and that plots are drawn."""

import csv
import xml.etree.ElementTree as ET

import pytest
import torch

from wherefrom.inversion.classes.clusters import Cluster, Clustering
from wherefrom.inversion.classes.merge_tree import MergeTree, TreeEdge, TreeLevel, TreeNode
from wherefrom.inversion.codes.evaluation import Detection, InverterEvaluation, Similarity
from wherefrom.inversion.outliers.calibrated import (
    OutlierCalibration,
    OutlierConfig,
    OutlierReport,
    OutlierRow,
)
from wherefrom.inversion.outliers.subtlety import SubtletyCurve, SubtletyPoint
from wherefrom.report.inversion.page import (
    subtlety_plot,
    tree_plot,
    write_clusters,
    write_outliers,
    write_tree,
)
from wherefrom.report.inversion.tables import (
    evaluation_table,
    least_table,
    outlier_line,
    outlier_table,
    tree_table,
)
from wherefrom.report.pages.html import from_data_uri
from wherefrom.report.pages.tables import to_csv

NASTY = "=cmd|<script>alert(1)</script>\x1b[31m.png"
CURVE = SubtletyCurve(
    "nll",
    0.05,
    20,
    tuple(SubtletyPoint(k, w, w, w / 2) for k in ("fog", "stripe") for w in (0.02, 0.3, 1.0)),
)
NODES = ((2, 0.5), (0, 0.3), (1, 0.2))
TREE = MergeTree(
    (
        TreeLevel(0.1, (3, 3), tuple(TreeNode(k, p, p) for k, p in NODES), 0.9),
        TreeLevel(10.0, (2, 2), (TreeNode(1, 0.6, 0.5), TreeNode(0, 0.4, 0.5)), 0.5),
    ),
    (TreeEdge(0, 2, 1, 1.0), TreeEdge(0, 0, 0, 0.9), TreeEdge(0, 1, 0, 0.7)),
    40,
    (0, 1),
)  # fmt: skip


def report(warning=""):
    rows = (
        OutlierRow(NASTY, 9.5, 0.01, True, True, "d0"),
        OutlierRow("b.png", 3.25, 0.04, True, False, "d1"),
        OutlierRow("c.png", 1.0, 0.9, False, False, "d2"),
    )
    return OutlierReport(rows, 0.05, 3.0, "nll", 99, (("x.png", "is damaged"),), warning)


def calibration():
    row = {"corruption": "fog", "intensity": 1.0, "auroc": {"nll": 0.75, "reconstruction": 0.5}}
    test = {"rows": [row], "means": {"nll": 0.75, "reconstruction": 0.5}, "chosen": "nll"}
    test |= {"images": 20, "warning": ""}
    return OutlierCalibration(OutlierConfig(), "nll", 0.0, torch.arange(99.0), test, "sha256:0")


def test_a_page_of_outliers_escapes_names_and_shows_warnings__closed_form(tmp_path):
    page = tmp_path / "p.html"
    write_outliers(page, report("under-trained: train longer"), calibration(), curve=CURVE)
    text = page.read_text()
    assert "<script" not in text and "\x1b" not in text and "&lt;script&gt;" in text
    assert "Read this first" in text and "under-trained: train longer" in text
    assert "3 images: 2 outliers at a false-alarm rate of 0.05; 1 of them stand out" in text
    assert "x.png" in text and "is damaged" in text and "mean AUROC 0.75" in text
    write_outliers(page, report(), calibration())
    plain = page.read_text()
    assert "Read this first" not in plain and "How small a defect" not in plain


def test_the_list_holds_every_file__roundtrip():
    rows = list(csv.DictReader(to_csv(outlier_table(report())).splitlines()))
    assert [row["verdict"] for row in rows] == ["outlier", "outlier", "normal", "not judged"]
    assert rows[0]["image"].startswith("'=cmd") and float(rows[1]["score"]) == 3.25
    assert [row["in the folder"] for row in rows] == ["discovery", "", "", ""]
    assert rows[3]["reason"] == "is damaged"
    assert outlier_line(report()).startswith("3 images: 2 outliers")


@pytest.mark.parametrize(("draw", "given"), [(subtlety_plot, CURVE), (tree_plot, TREE)])
def test_plots_are_pictures_with_their_words__smoke(draw, given):
    for address in draw(given):
        picture = ET.fromstring(from_data_uri(address))  # noqa: S314 (our own picture)
        words = " ".join(t.text or "" for t in picture.iter("{http://www.w3.org/2000/svg}text"))
        assert ("AUROC" in words and "stripe" in words) or "penalty 10" in words


def test_a_page_of_classes_shows_each__closed_form(tmp_path):
    clusters = (Cluster(3, 0.7, True, (0, 2), (0.9, 0.8)), Cluster(1, 0.004, False, (1,), (0.6,)))
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    page = tmp_path / "p.html"
    found = Clustering(clusters, 3, 5)
    write_clusters(page, found, images, {3: torch.ones(2, 1, 8, 8)})
    text = page.read_text()
    assert "1 of 5 classes are in use; 3 images sorted." in text
    assert "class-03: P(C) = 70%" in text and "class-01: P(C) = 0.4%" in text and "dead" in text
    assert text.count('src="data:image/png') == 3  # two sheets of class 3, one of class 1
    write_tree(page, TREE)
    assert "What merges" in page.read_text()
    assert "The most stable level has the penalty 0.1" in page.read_text()


def test_tables_tell_what_is_known__closed_form():
    never = SubtletyCurve("nll", 0.05, 20, (SubtletyPoint("fog", 1.0, 0.5, 0.4),))
    assert least_table(never).shown() == [["fog", "never"]]
    assert least_table(CURVE).shown() == [["fog", "1"], ["stripe", "1"]]
    assert tree_table(TREE).shown()[0][:3] == ["0.1", "3 3", "0.900"]
    found = InverterEvaluation(
        "dlsgan", 12, 9, 9, "f", 1.5, 0.5, 0.25, Similarity(20.0, 0.5), None, 0.1, 42.0, 3,
        (Detection("nll", 0.6, 0.9, {"cats": 0.95}),),
    )  # fmt: skip
    shown = dict(evaluation_table(found).shown())
    assert shown["Frechet distance (f)"] == "1.5" and shown["AUROC of nll, cats"] == "0.95"
    assert shown["latent entropy, nats"] == "42" and "SSIM of generated images" not in shown
