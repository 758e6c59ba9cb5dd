"""The folder of a payout: the receipt, the table and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wherefrom.core.saving.store import scratch_beside, write_file
from wherefrom.credit.payout.of_study import StudyPayout
from wherefrom.credit.payout.receipt import FILES, SETTLED, with_files
from wherefrom.report.credit.basis import basis_of
from wherefrom.report.credit.page import write_credit_report
from wherefrom.report.credit.tables import payout_table
from wherefrom.report.pages.tables import to_csv


def write_payout(out: Path, paid: StudyPayout, *, settles: Path | None = None) -> dict[str, Any]:
    """Write the new folder `out`, whole or not at all; the receipt with the digests of its files.

    `settles`: the receipt file that this payout settles, which is copied into the folder.
    """
    with scratch_beside(out) as scratch:
        write_file(scratch / "payout.csv", to_csv(payout_table(paid.payout)).encode())
        basis = basis_of(paid.runs)
        if settles is not None:
            write_file(scratch / SETTLED, settles.read_bytes())
            basis |= {"settles the receipt": paid.receipt["records"]["earlier"]["digest"]}
        names = [payment.name for payment in paid.payout.payments]
        page = scratch / "payout.html"
        write_credit_report(page, paid.shares, names, basis=basis, payout=paid.payout)
        written = [scratch / name for name in FILES if (scratch / name).exists()]
        receipt = with_files(paid.receipt, {path.name: path.read_bytes() for path in written})
        text = json.dumps(receipt, indent=1, allow_nan=False, ensure_ascii=False)
        write_file(scratch / "receipt.json", text.encode())
    return receipt
