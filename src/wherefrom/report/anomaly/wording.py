"""Sentences that explain an audit's figures to a reader who knows no statistics."""

from __future__ import annotations

from wherefrom.anomaly.auditing import Audit
from wherefrom.anomaly.calibration.assumption import AssumptionCheck
from wherefrom.anomaly.comparison.frechet_order import FrechetOrder
from wherefrom.anomaly.comparison.generators import Comparison
from wherefrom.anomaly.comparison.means import MeanTest
from wherefrom.anomaly.localisation.heat_maps import Localisation
from wherefrom.report.pages.tables import percent, plural

DECIDING = {
    "as_i": "AS-i",
    "vulnerability": "the vulnerability",
    "joint": "the direction-free score of (C, V)",
}


def answer(audit: Audit) -> tuple[str, ...]:
    """The result in a few sentences."""
    rows = audit.comparison.generators
    first = nearest(audit.comparison.frechet)
    rate = audit.comparison.config.error_rate
    alike = [row.name for row in rows if row.p_together > rate]
    second = (
        f"{', '.join(alike)}: not told from the real images by C and V with this many images."
        if alike
        else "The images of every generator differ from the real ones in C and V."
    )
    flags = " ".join(f"{name}: {flags.message}." for name, flags in audit.flags.items())
    return first, second, flags


def nearest(order: FrechetOrder) -> str:
    """Which generator is the nearest to the real images by Fréchet distance."""
    best, names = order.ranking.best, order.ranking.names
    if len(names) == 1:
        return f"{names[0]} was compared with the real images."
    if len(best) == 1:
        return f"{best[0]} is the generator nearest to the real images, by Fréchet distance."
    return (
        f"These images do not tell which generator is the nearest to the real ones by Fréchet "
        f"distance: {', '.join(best)} cannot be told apart at the top."
    )


def early(order: FrechetOrder) -> str:
    """The order that is known before C and V."""
    distances = ", ".join(f"{name} {value:.4g}" for name, value in order.distances.items())
    return f"FD: {distances}. {nearest(order)} C and V follow."


def order(comparison: Comparison) -> tuple[str, ...]:
    """How to read the order of the generators."""
    if len(comparison.generators) == 1:
        return ("One generator has no order.",)
    by_distance, by_score = (
        "; ".join(" = ".join(group) for group in ranking.groups)
        for ranking in (comparison.frechet.ranking, comparison.ranking)
    )
    sizes = (
        f"Both are at {comparison.equal_size} images of each generator. "
        if len({row.count for row in comparison.generators}) > 1
        else ""
    )
    return (
        f"Nearest first, and joined by = where they cannot be told apart. By Fréchet distance: "
        f"{by_distance}. By AS: {by_score}. {sizes}A rank such as 1-2 means that the data leave it "
        f"open. Two generators count as told apart if chance would do so in at most "
        f"{percent(comparison.ranking.error_rate)} of cases, over all pairs together (bootstrap, "
        "Holm).",
    )


def shift(test: MeanTest) -> str:
    """Whether a mean moved as the paper expects."""
    side = "above" if test.generated > test.real else "below"
    expected = "as the paper expects" if test.as_expected else "NOT as the paper expects"
    return (
        f"{test.generated:.4g}, {side} the real {test.real:.4g}: {expected} "
        f"(two-tailed p = {test.p_two:.2g})"
    )


def heat(localisation: Localisation) -> str:
    """The shares of the three outlined segments, and how far two attacks agree on them."""
    shares = ", ".join(percent(round(float(localisation.shares[i]), 2)) for i in localisation.top)
    return (
        f"Outlined: {shares} of V; from another start {percent(round(localisation.stability, 2))} "
        "of these segments are the same"
    )


def outlined(localisation: Localisation) -> str:
    """V, the shares of the three outlined segments, and how many of them another start repeats."""
    shares = ", ".join(percent(round(float(localisation.shares[i]), 3)) for i in localisation.top)
    return (
        f"V = {localisation.vulnerability:.4g}; the three segments outlined: {shares} of it; "
        f"{percent(localisation.stability)} of them are the same from another start"
    )


def listed(audit: Audit, shown: int) -> str:
    """What the list of images shows, and by which score it is ordered."""
    decides = DECIDING[audit.calibration.decides]
    return (
        f"The first {shown} of {plural(len(audit.images), 'image')}; images.csv holds all. They "
        f"are ranked by {decides}. Flagged: at most {percent(audit.config.false_alarms)} of images "
        "like the real ones would be. The heat maps show where the vulnerability lies: yellow, "
        "cyan and white outline the three segments with the largest share of V."
    )


def assumption(check: AssumptionCheck) -> str:
    """What the table of damages shows."""
    return (
        f"{plural(check.images, 'real image')} were damaged on purpose. Each figure is the "
        "probability that a damaged image scores higher than a whole one: 1 is perfect, 0.5 is "
        "chance, below 0.5 the score calls damaged images more natural."
    )


def meanings(audit: Audit) -> tuple[tuple[str, str], ...]:
    """The meaning of each figure on the page."""
    held = len(audit.calibration.held_points)
    return (
        (
            "AS, the anomaly score of a generator",
            "The distance between the joint distributions of complexity and vulnerability of real "
            "and generated images, from 0 to 1 (two-dimensional Kolmogorov-Smirnov). Smaller is "
            "nearer. Below it: the 95% interval for other images of the same number. Small sets "
            "have a large AS whatever they show; “AS of real images” is the level of no "
            "difference at this size. Its p-values count all generators together (Holm): if none "
            "differs from the real images, even one is said to with the stated probability.",
        ),
        (
            "C and V",
            "Complexity: the mean angle by which features turn while noise is added in equal "
            "steps. Vulnerability: how far features move under a small attack. The paper expects "
            "generated images to have the smaller C and the larger V.",
        ),
        (
            "AS-i, the anomaly score of an image",
            "V / C. It depends on the encoder and says nothing by itself; it is shown as a rank "
            f"among {held} held-out real images.",
        ),
        (
            "p-value of an image",
            "The share of held-out real images that are at least as unusual. Among many images "
            "some natural ones are flagged, at most at the rate stated.",
        ),
        (
            "FD, KD, precision, recall, density, coverage, realism, IS",
            "Fréchet and kernel distance, shares of images inside the neighbourhoods of the other "
            "set, the median realism score, and the Inception Score by the encoder's own classes "
            "where it has any. All use this page's encoder, so they are not comparable with "
            "published figures, nor FD between sets of different size.",
        ),
    )


def limits(audit: Audit) -> tuple[tuple[str, str], ...]:
    """What the page does not show."""
    return (
        (
            "Unusual is not the same as wrong",
            "A flag says that an image is unlike the real images given, for this encoder. A rare "
            "but correct picture can be flagged, and a smooth, plausible fault can pass.",
        ),
        (
            "AS has no direction",
            "Images that are too smooth are as far away as images that are broken. The columns C "
            "and V say in which direction each generator differs.",
        ),
        (
            "The real images decide",
            f"Everything is relative to the {audit.comparison.real_count} real images given: "
            "another subject, size or file format changes every figure. Real and generated images "
            "should have gone through the same scaling and compression.",
        ),
        (
            "The order of generators",
            "It is that of the Fréchet distance: of generators whose quality was known, AS did not "
            "give the order. Both tests are approximate. In simulations they told equal generators "
            "apart no more often than stated; they need more images in return.",
        ),
    )
