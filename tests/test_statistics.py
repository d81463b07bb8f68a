"""Verdicts beside published examples, and on simulated runs whose truth is known."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy import stats

from resnet.report import statistics
from resnet.report.statistics import LEVEL, Difference, NoVerdict

# Student's own data: hours of sleep gained by ten patients under two drugs; the example of R's t.test.
DRUG_1 = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
DRUG_2 = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))
OTHERS = {seed + 100: value for seed, value in DRUG_2.items()}


def test_summary_is_students_interval():
    values = list(DRUG_1.values())
    found = statistics.summary(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.n, found.mean, found.deviation) == pytest.approx((10, 0.75, 1.789010), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_value_has_no_deviation_and_equal_values_no_interval():
    assert statistics.summary([0.9]) == statistics.Summary(1, 0.9)
    assert statistics.summary([0.9, 0.9]) == statistics.Summary(2, 0.9, 0.0)


@pytest.mark.parametrize(
    ("second", "test", "interval", "p"),
    [
        (DRUG_2, "paired t", (-2.4598858, -0.7001142), 0.002833),
        (OTHERS, "Welch's t", (-3.3654832, 0.2054832), 0.07939),
    ],
)
def test_difference_as_r_has_it(second, test, interval, p):
    found = statistics.difference(DRUG_1, second)
    assert (found.test, found.seeds) == (test, (10, 10))
    assert (found.low, found.high) == pytest.approx(interval, abs=1e-7)
    assert found.estimate == pytest.approx(-1.58)
    assert found.p == pytest.approx(p, abs=5e-6)


def test_groups_that_share_some_seeds_keep_all_their_runs():
    first, second = DRUG_1, {seed: DRUG_2[seed] for seed in range(6)} | {20: 2.5}
    found = statistics.difference(first, second)
    expected = stats.ttest_ind(list(first.values()), list(second.values()), equal_var=False)
    assert (found.test, found.seeds, found.p) == ("Welch's t", (10, 7), pytest.approx(expected.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({1: 0.9}, {1: 0.8, 2: 0.7}, "two seeds of each"),
        ({1: 0.9, 2: 0.8}, {1: 0.7, 2: 0.6}, "20.00 points in every seed"),
        ({1: 0.9, 2: 0.9}, {3: 0.9, 4: 0.9}, "0.00 points in every seed"),
    ],
)
def test_no_verdict(first, second, why):
    with pytest.raises(NoVerdict, match=why):
        statistics.difference(first, second)


def outcomes(both, only_first, only_second, neither):
    pairs = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, only_first, only_second, neither], axis=0)
    return pairs.astype(bool).T


def test_mcnemar_by_hand():
    """13 images that one of two got right: the tail of 3 and fewer heads in 13 throws, 3 itself by half."""
    found = statistics.mcnemar(*outcomes(70, 10, 3, 17))
    tail = [comb(13, heads) / 2**13 for heads in range(4)]
    assert found.p == pytest.approx(2 * (sum(tail) - tail[3] / 2))
    assert found.estimate == pytest.approx(0.07)
    assert statistics.mcnemar(*outcomes(5, 4, 4, 5)).p == pytest.approx(1)
    assert statistics.mcnemar(*outcomes(5, 0, 0, 5)).p == 1


def test_mcnemar_as_published():
    """Airways before and after a transplant (Fagerland et al. 2014): p, and the interval's ends by hand."""
    found = statistics.mcnemar(*outcomes(1, 1, 7, 12))
    assert found.p == pytest.approx(0.0391, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((-0.508, -0.013), abs=5e-4)


def test_holm_as_r_has_it():
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")."""
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.7, 0.6]), [1, 1])
    assert list(statistics.holm([])) == []


def observed(estimate, *deviations, seeds=(5, 5), p=0.5):
    return Difference(
        "paired t" if len(deviations) == 1 else "Welch's t", estimate, -1, 1, p, seeds, deviations
    )


@pytest.mark.parametrize(
    ("estimate", "deviations", "seeds"),
    [(0.5, (1,), 34), (0.8, (1,), 15), (0.5, (1, 1), 64), (0.8, (1, 1), 26), (0.0, (1,), None)],
)
def test_seeds_needed_as_in_cohens_tables(estimate, deviations, seeds):
    """Cohen 1988, table 2.4.1, and G*Power: 80% power at 5%, two-sided."""
    assert statistics.seeds_needed(observed(estimate, *deviations)) == seeds


def test_words():
    def said(estimate, p, **options):
        found = Difference("paired t", estimate, estimate - 0.004, estimate + 0.004, p, (5, 5), (0.01,))
        return statistics.verdict("A", "B", found, options.pop("adjusted", p), **options)

    assert said(0.012, 0.0031) == "A is better than B by 1.20 ± 0.40 points (paired t, 5 seeds, p = 0.003)"
    assert said(-0.012, 1e-9) == "B is better than A by 1.20 ± 0.40 points (paired t, 5 seeds, p < 0.001)"
    assert said(0.008, 0.04, adjusted=0.12, pairs=3) == (
        "A and B are not to be told apart, 0.80 ± 0.40 points (paired t, 5 seeds, p = 0.040; 0.120 among "
        "3 pairs); about 15 more seeds of each would, at this difference"
    )
    assert said(0.00001, 0.9).endswith("more than 1,000 seeds of each would be needed at this difference")
    networks = statistics.mcnemar(*outcomes(700, 90, 30, 180))
    assert statistics.verdict("A", "B", networks, networks.p) == (
        "the network of A is better than that of B by 6.00 ± 2.13 points (McNemar's mid-p, 1,000 images, "
        "p < 0.001); one seed each, so nothing is known of other seeds"
    )


@pytest.mark.parametrize(
    ("values", "word", "text"),
    [
        (
            [0.9110, 0.9120, 0.9130],
            "reproduced",
            "90.95% to 91.45% lies within the published 91.25% ± 0.50 points",
        ),
        ([0.9210, 0.9220, 0.9230], "not reproduced", "lies above"),
        ([0.90, 0.93, 0.91], "undecided", "crosses a bound of"),
        ([0.9125], "undecided", "one seed has no interval"),
    ],
)
def test_reproduction(values, word, text):
    found = statistics.reproduction(values, 0.9125, 0.005)
    assert found.word == word
    assert str(found).startswith(f"{word}: ") and text in str(found)


def test_a_margin_is_given():
    with pytest.raises(ValueError, match="margin"):
        statistics.reproduction([0.9, 0.91], 0.9, 0)


# From here on simulated runs: accuracies as they are measured, on 10,000 images. What is counted may exceed
# what is claimed by three standard errors of the count.


def simulated(rng, means, seeds, deviation=0.003, shared=0.0):
    """A group for each mean, dicts seed -> accuracy; `shared` is the correlation that equal seeds bring."""
    of_seed = rng.normal(size=100)
    groups = []
    for mean, numbers in zip(means, seeds, strict=True):
        numbers = np.asarray(numbers)
        noise = np.sqrt(shared) * of_seed[numbers] + np.sqrt(1 - shared) * rng.normal(size=len(numbers))
        values = np.round(mean + deviation * noise, 4)
        groups.append(dict(zip(numbers.tolist(), values.tolist(), strict=True)))
    return groups


def bound(level, n):
    return level + 3 * np.sqrt(level * (1 - level) / n)


def told_apart(first, second):
    try:
        return statistics.difference(first, second).p < LEVEL
    except NoVerdict:  # as accuracies are counts, the same difference may come in every seed
        return False


PAIRED, WELCH, PARTLY = ((0, 1, 2), (0, 1, 2)), (range(5), range(10, 14)), (range(5), range(4))
FEWEST = ((0, 1), (0, 1)), ((0, 1), (2, 3))


@pytest.mark.parametrize("shared", [0.0, 0.7])
@pytest.mark.parametrize("seeds", [PAIRED, WELCH, PARTLY])
def test_equal_recipes_are_told_apart_no_more_often_than_claimed(seeds, shared):
    rng, n = np.random.default_rng(0), 4000
    found = [statistics.difference(*simulated(rng, (0.91, 0.91), seeds, shared=shared)) for _ in range(n)]
    assert sum(difference.p < LEVEL for difference in found) / n <= bound(LEVEL, n)
    assert sum(not difference.low <= 0 <= difference.high for difference in found) / n <= bound(LEVEL, n)


@pytest.mark.parametrize("deviation", [0.003, 0.0001])
@pytest.mark.parametrize("seeds", FEWEST)
def test_two_seeds_of_each_and_accuracies_on_a_coarse_grid(seeds, deviation):
    rng, n = np.random.default_rng(7), 4000
    pairs = [simulated(rng, (0.91, 0.91), seeds, deviation) for _ in range(n)]
    assert sum(told_apart(*pair) for pair in pairs) / n <= bound(LEVEL, n)


def test_pairing_sees_what_shared_draws_hide():
    rng, n = np.random.default_rng(1), 500
    found = {}
    for name, seeds in (("paired", PAIRED), ("unpaired", (PAIRED[0], (3, 4, 5)))):
        pairs = [simulated(rng, (0.915, 0.91), seeds, shared=0.9) for _ in range(n)]
        found[name] = sum(told_apart(*pair) for pair in pairs)
    assert found["paired"] > 1.5 * found["unpaired"]


@pytest.mark.parametrize(
    "means", [(0.91,) * 5, (0.91, 0.91, 0.91, 0.93, 0.93)], ids=["all equal", "two kinds"]
)
def test_a_family_of_verdicts_is_wrong_no_more_often_than_claimed(means):
    """Wrong is any verdict between groups that are equal, or for the worse; the best is in its pairs too."""
    rng, n = np.random.default_rng(2), 1000
    wrong = uncorrected = 0
    for _ in range(n):
        groups = simulated(rng, means, [range(4)] * 5)
        pairs = list(combinations(range(5), 2))
        found = [statistics.difference(groups[i], groups[j]) for i, j in pairs]

        def mistaken(p_values, pairs=pairs, found=found):
            truths = [np.sign(means[i] - means[j]) for i, j in pairs]
            return any(
                p < LEVEL and np.sign(difference.estimate) != truth
                for p, difference, truth in zip(p_values, found, truths, strict=True)
            )

        p_values = [difference.p for difference in found]
        wrong += mistaken(statistics.holm(p_values))
        uncorrected += mistaken(p_values)
    assert wrong / n <= bound(LEVEL, n)
    assert uncorrected / n > 2 * LEVEL  # so that the correction is needed


def test_the_best_is_no_group_chosen_beforehand():
    """Correcting over the pairs of whichever came out best is not enough; over all pairs it is."""
    rng, n, count = np.random.default_rng(8), 1000, 8
    wrong = over_its_pairs = 0
    for _ in range(n):
        groups = simulated(rng, (0.91,) * count, [range(5)] * count)
        groups.sort(key=lambda group: -sum(group.values()))
        p = [statistics.difference(*pair).p for pair in combinations(groups, 2)]
        of_best = slice(count - 1)
        wrong += min(statistics.holm(p)[of_best]) < LEVEL
        over_its_pairs += min(statistics.holm(p[of_best])) < LEVEL
    assert wrong / n <= bound(LEVEL, n) < over_its_pairs / n


@pytest.mark.parametrize("seeds", [PAIRED, WELCH], ids=["paired", "unpaired"])
def test_as_many_seeds_as_called_for_have_the_power_claimed(seeds):
    rng, n, deviation, gain = np.random.default_rng(3), 2000, 0.003, 0.003
    paired = seeds is PAIRED
    deviations = (np.sqrt(2) * deviation,) if paired else (deviation, deviation)
    needed = statistics.seeds_needed(observed(gain, *deviations))
    numbers = (range(needed), range(needed) if paired else range(50, 50 + needed))
    pairs = [simulated(rng, (0.91 + gain, 0.91), numbers, deviation) for _ in range(n)]
    assert 0.77 < sum(told_apart(*pair) for pair in pairs) / n < 0.86


def test_mcnemar_on_equal_networks():
    """Two networks that err equally often, on images of unequal difficulty."""
    rng, n = np.random.default_rng(4), 2000
    wrong = covered = 0
    for _ in range(n):
        easy = rng.beta(4, 1, 500)
        found = statistics.mcnemar(rng.random(500) < easy, rng.random(500) < easy)
        wrong += found.p < LEVEL
        covered += found.low <= 0 <= found.high
    assert wrong / n <= bound(LEVEL, n)
    assert 1 - covered / n <= bound(LEVEL, n)


@pytest.mark.parametrize(
    ("off", "lie"), [(0.005, "reproduced"), (-0.005, "reproduced"), (0.005, "not reproduced")]
)
def test_a_reproduction_on_the_edge_is_misjudged_no_more_often_than_claimed(off, lie):
    """At the margin itself either word is wrong, and most likely to be said."""
    rng, n = np.random.default_rng(5), 3000
    words = [
        statistics.reproduction(0.9125 + off + rng.normal(0, 0.002, 5), 0.9125, 0.005).word for _ in range(n)
    ]
    assert words.count(lie) / n <= bound(LEVEL / 2, n)


def test_a_reproduction_is_found_where_there_is_one():
    rng = np.random.default_rng(6)
    words = [statistics.reproduction(rng.normal(0.9125, 0.001, 5), 0.9125, 0.005).word for _ in range(200)]
    assert words.count("reproduced") > 190
