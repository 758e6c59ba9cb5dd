"""Axioms that can fail: judged with intervals, for the estimator that a report shows."""

import numpy as np
from synthetic_games import played

from wherefrom.credit.estimators.design import EnumerationDesign, PairedDesign
from wherefrom.credit.evaluation.study_audit import audit_shares
from wherefrom.report.credit.tables import audit_table

EFFECT = np.array([3.0, 3.0, 0.0, -1.0, 2.0])
NAMES = list("abcde")


def additive(masks):
    return 4 + np.asarray(masks, dtype=np.float64) @ EFFECT


def checks(table, **options):
    return {row.check: row for row in audit_shares(table, NAMES, **options)}


def test_symmetry_and_dummy_hold_and_fail__closed_form():
    table = played(EnumerationDesign(5, replicates=2), 64, additive, noise=0.1)
    rows = checks(table, twins=[(0, 1)], without=[2])
    assert rows["symmetry"].held
    assert rows["dummy"].held
    broken = checks(table, twins=[(0, 4)], without=[3])
    assert broken["symmetry"].held is False
    assert np.isclose(broken["symmetry"].value, 1.0, atol=0.2)
    assert broken["dummy"].held is False
    assert not broken["symmetry"].construction
    bare = checks(played(PairedDesign(5), 14, additive), twins=[(0, 4)])
    assert bare["symmetry"].held is None


def test_what_is_reported_is_audited__identity_method():
    table = played(EnumerationDesign(5, replicates=2), 64, additive, noise=0.1)
    rows = checks(table, other=table)
    assert "by exact" in rows["efficiency"].says
    assert "by exact" in rows["linearity"].says
    assert rows["efficiency"].construction
    banzhaf = checks(
        table._replace(values=table.values * (1 + table.masks.sum(axis=1))), method="banzhaf"
    )
    assert banzhaf["efficiency"].held is False  # Banzhaf values do not add up
    assert not banzhaf["efficiency"].construction
    assert "yes, by construction" in str(audit_table(list(rows.values())).shown())


def test_twins_are_found_by_their_images__closed_form(tmp_path):
    import shutil

    from studies import write_images

    from wherefrom.credit.contributors.reading import contributors_from_folders
    from wherefrom.credit.evaluation.study_audit import twins_of

    write_images(tmp_path / "data", players=3)
    shutil.copytree(tmp_path / "data" / "c1", tmp_path / "data" / "c9")
    data = contributors_from_folders(tmp_path / "data", channels=1, size=8)
    assert twins_of(data) == [(1, 3)]
