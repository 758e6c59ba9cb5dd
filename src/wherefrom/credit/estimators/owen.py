"""Shares of groups of contributors from the same runs, and two-level Owen values.

`groups` gives the group of each player, (n,) ints.  Groups must be chosen without looking at the
shares: groups made to differ always do.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.intervals import Estimate, add_intervals
from wherefrom.credit.estimators.marginal import estimate_permutation
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.estimators.tables import anchors_of, checked, orders_of
from wherefrom.credit.ledger.game import Floats, Ints, RunTable
from wherefrom.credit.result import Shares

MAX_WARD = 2000  # contributors among whom Ward's clusters are sought; 32 MB of distances


def group_sums(shares: Shares, groups: Sequence[Hashable], *, level: float = LEVEL) -> Shares:
    """Sums of the shares of each group's members, with intervals.

    A sum is known better than its parts.  It is not the share of the group in the game where it
    plays as one (`play_in_groups`): the two differ by what the members do to each other.
    """
    pull = _membership(groups, shares.players)
    sums = Estimate(
        method=f"{shares.method}, sums of groups",
        centers=pull @ shares.centers,
        covariance=pull @ shares.covariance @ pull.T,
        freedom=shares.freedom,
        anchors=shares.anchors,
        runs=shares.runs,
        values=pull @ shares.values,
        shrinkage=shares.shrinkage,
        notes=shares.notes,
        portions=None if shares.portions is None else pull @ shares.portions,
    )
    return add_intervals(sums, level)


class OwenShares(NamedTuple):
    """Owen values of players, and the Shapley values of their unions, to which they add up."""

    players: Shares
    unions: Shares


def estimate_owen(
    table: RunTable, groups: Sequence[Hashable], *, level: float = LEVEL
) -> OwenShares:
    """Owen values of players in unions, as of images (or parts) of contributors.

    Needs runs of `PermutationDesign(..., groups=...)`: unions join whole, one after the other; runs
    of other designs are passed over.  The unions get their Shapley values of the game between them.
    """
    place = np.array(numbered(groups))
    runs = _union_wise(table, place)
    # Each union is as likely to join first, and in it each member.
    first = 1 / (place.max() + 1) / np.bincount(place)[place]
    players = estimate_permutation(runs, level=level, method="owen", portions=first)
    return OwenShares(players, group_sums(players, groups, level=level))


def ward_groups(features: Floats, count: int) -> Ints:
    """Contributors in `count` groups of like data: Ward's clusters of their features (n, d).

    Of more than `MAX_WARD`, evenly spaced ones are clustered, and each other joins the cluster with
    the nearest mean: time and memory of the clusters grow with the square of their number.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import cdist

    if not 1 <= count <= len(features):
        raise InputError(f"{len(features)} contributors cannot be put into {count} groups")
    if count == len(features):
        return np.arange(count)
    most = max(MAX_WARD, count)
    rows = np.arange(len(features))
    if len(features) > most:
        rows = np.arange(most) * len(features) // most
    labels = fcluster(linkage(features[rows], method="ward"), count, criterion="maxclust")
    if len(rows) == len(features):
        return np.array(numbered(labels.tolist()))
    clusters = [rows[labels == k] for k in range(1, labels.max() + 1)]
    means = np.stack([features[members].mean(axis=0) for members in clusters])
    nearest = cdist(features, means, "sqeuclidean").argmin(axis=1) + 1
    nearest[rows] = labels
    return np.array(numbered(nearest.tolist()))


def _union_wise(table: RunTable, groups: NDArray[np.int64]) -> RunTable:
    """The seeds whose runs each have at most one union partly in, as in a union-wise order."""
    inside = np.array([table.masks[:, groups == g].mean(axis=1) for g in np.unique(groups)])
    cut = ((inside > 0) & (inside < 1)).sum(axis=0) > 1
    whole = table.at(~np.isin(table.seeds, np.unique(table.seeds[cut])))
    if cut.any() and not orders_of(checked(whole), anchors_of(checked(whole))):
        raise InputError(
            "the runs cut several unions at once; Owen values need runs of the design owen"
        )
    return whole


def numbered(groups: Sequence[Hashable]) -> tuple[int, ...]:
    """Groups as 0, 1, ... in order of appearance."""
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return tuple(names[name] for name in groups)


def _membership(groups: Sequence[Hashable], players: int) -> Floats:
    if len(groups) != players:
        raise InputError(f"groups name {len(groups)} contributors, but there are {players}")
    place = np.array(numbered(groups))
    rows: Floats = (place == np.arange(place.max() + 1)[:, None]).astype(np.float64)
    return rows
