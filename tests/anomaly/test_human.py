"""Agreement with people's guesses."""

import math

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from wherefrom.anomaly.paper.human import (
    Guesses,
    agreement_of_generators,
    agreement_of_images,
    correlate,
    noise_ceiling,
    read_human_table,
)
from wherefrom.core.errors import InputError

HEAD = ",model,generated,image_path,number_guesses,number_guesses_generated,soft_label\n"


def table(tmp_path, *lines, head=HEAD):
    path = tmp_path / "human.csv"
    path.write_text(head + "".join(f"{i},{line}\n" for i, line in enumerate(lines)))
    return path


def test_table_is_read_and_rows_of_one_image_are_added__closed_form(tmp_path):
    result = read_human_table(
        table(
            tmp_path,
            "gan,0,real.png,4,1,0.25",
            "gan,1,a/x.png,3,2,0.67",
            "gan,1,a/x.png,1,1,1.0",
            "vae,1,x.png,2,2,1.0",
            "vae,1,unseen.png,0,0,",
        )
    )
    assert result.models == ("gan", "vae")
    assert result.images[("gan", "a/x.png")] == Guesses(4, 3)
    assert result.error_rate("gan") == (0.25, 4)
    assert result.error_rate("vae") == (0.0, 2)
    with pytest.raises(InputError, match="no guesses about 'ddpm'; it knows gan, vae"):
        result.error_rate("ddpm")


@pytest.mark.parametrize(
    ("lines", "head", "message"),
    [
        (["gan,1,x.png,1,1,1"], HEAD.replace("generated,", "fake,", 1), "lacks the columns gen"),
        (["gan,1,x.png,one,1,1"], HEAD, "line 2: a count is not a whole number"),
        (["gan,1,x.png,1,2,1"], HEAD, "2 of 1 guesses"),
        (["gan,7,x.png,1,1,1"], HEAD, "generated is 7"),
        (["gan,0,x.png,1,1,1"], HEAD, "no guesses about generated images"),
    ],
)
def test_tables_that_make_no_sense__rejects_columns_and_counts(tmp_path, lines, head, message):
    with pytest.raises(InputError, match=message):
        read_human_table(table(tmp_path, *lines, head=head))
    (tmp_path / "human.csv").write_bytes(b"\xff\xfe\x00mode")
    with pytest.raises(InputError, match="not text in UTF-8"):
        read_human_table(tmp_path / "human.csv")


def test_generators_against_error_rates__reference_scipy(tmp_path):
    lines = [f"m{i},1,x.png,10,{said},0" for i, said in enumerate((9, 7, 8, 2))]
    scores = {"m0": 0.8, "m1": 0.5, "m2": 0.6, "m3": 0.1}
    result = agreement_of_generators(read_human_table(table(tmp_path, *lines)), scores)
    x, y = [0.8, 0.5, 0.6, 0.1], [0.1, 0.3, 0.2, 0.8]
    assert result.pearson == pytest.approx(pearsonr(x, y).statistic)
    assert result.spearman == pytest.approx(spearmanr(x, y).statistic) == pytest.approx(-1.0)
    assert result.low <= result.pearson <= result.high
    assert (result.count, result.ceiling) == (4, None)


def test_images_are_matched_by_model_and_name__closed_form(tmp_path):
    human = read_human_table(
        table(tmp_path, *[f"gan,1,{i}.png,4,{i},0" for i in range(5)], "vae,1,0.png,4,4,1")
    )
    names = [f"somewhere/gan/{i}.png" for i in range(6)]
    values = np.array([0.0, 10.0, 20.0, 30.0, math.nan, 99.0])
    scores = {"gan": (names, values), "other": (["0.png"], np.zeros(1))}
    result, unmatched = agreement_of_images(human, scores, what="AS-i")
    assert (result.pearson, result.count, unmatched) == (pytest.approx(1.0), 4, 3)
    with pytest.raises(InputError, match="no image given is in"):
        agreement_of_images(human, {"nobody": (names, values)}, what="AS-i")


def test_images_of_several_classes_may_share_a_name__closed_form(tmp_path):
    """As in the published table of CIFAR-10: `CLASS/NUMBER`, and rows that nobody judged."""
    lines = ["gan,1,0/118.png,3,3,1", "gan,1,9/118.png,2,0,0", "gan,1,3/118.png,0,0,0"]
    human = read_human_table(table(tmp_path, *lines, "vae,1,0/7.png,1,1,1"))
    files = "gan/0/118.png", "/data/gan/9/118.png", "gan/3/118.png", "gan/4/118.png", "118.png"
    assert [human.guesses("gan", name) for name in files] == [
        *(Guesses(3, 3), Guesses(2, 0)),
        *(None, None, None),
    ]
    assert human.guesses("vae", "flat/7.png") == Guesses(1, 1)
    assert human.error_rate("gan") == (0.4, 5)


def test_ceiling_is_the_correlation_of_a_perfect_score__limit():
    """20,000 images, 2 guesses each, from known probabilities."""
    rng = np.random.default_rng(0)
    truth = rng.beta(1.5, 1.0, 20_000)
    said = rng.binomial(2, truth)
    result = noise_ceiling([Guesses(2, int(s)) for s in said])
    assert result == pytest.approx(np.corrcoef(truth, said / 2)[0, 1], abs=0.02)


def test_ceiling_of_many_guesses_and_of_none__limit():
    rng = np.random.default_rng(1)
    sure = [Guesses(1000, int(rng.binomial(1000, p))) for p in rng.random(200)]
    assert noise_ceiling(sure) == pytest.approx(1.0, abs=0.01)
    alike = [Guesses(3, int(rng.binomial(3, 0.5))) for _ in range(2000)]
    assert noise_ceiling(alike) < 0.25
    assert noise_ceiling([Guesses(1, 0), Guesses(1, 1)]) is None
    assert noise_ceiling([Guesses(2, 1), Guesses(2, 1)]) is None


def test_correlations_of_too_little__rejects_counts_and_constants():
    with pytest.raises(InputError, match="2 pairs, a correlation needs at least 3"):
        correlate("AS", [1.0, 2.0], [1.0, 2.0])
    with pytest.raises(InputError, match="all values of one side are equal"):
        correlate("AS", [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    three = correlate("AS", [1.0, 2.0, 3.0], [1.0, 2.5, 3.0])
    assert (three.low, three.high) == (-1.0, 1.0)
