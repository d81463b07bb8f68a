"""Which of two groups of runs is better, how sure that is, and whether a published figure was met.

A value is what one seed gave: an accuracy in [0, 1], larger is better. The t tests take the values of a
group as draws from a normal distribution over seeds. They speak of what other seeds would give on the same
images; McNemar's test speaks of two trained networks on other images of the same kind, and of no other seed.
All tests are two-sided; a verdict is wrong at most as often as `LEVEL` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit
from scipy.stats import binom, nct, norm

LEVEL = 0.05
MOST_SEEDS = 1000  # of each group; to call for more would help nobody


class NoVerdict(Exception):
    """The values cannot be judged; the text says why."""


@dataclass(frozen=True)
class Summary:
    """Of one group: its size, mean, sample deviation (n - 1), and the ends of the 95% interval of the mean.

    Deviation and interval are None of one value; the interval also of equal values, which show no spread to
    build it from.
    """

    n: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Difference:
    """First minus second: the estimate, its 95% interval, and the p of "they are equal".

    `seeds` counts those of the two groups, `images` those that McNemar's test saw. `deviations` are what the
    t tests estimated: of the differences within pairs, or of each group.
    """

    test: str
    estimate: float
    low: float
    high: float
    p: float
    seeds: tuple[int, int]
    deviations: tuple[float, ...] = ()
    images: int | None = None


@dataclass(frozen=True)
class Reproduction:
    """What `reproduction` found; `word` is the finding, `str()` the sentence."""

    word: str
    summary: Summary
    published: float
    margin: float

    def __str__(self) -> str:
        goal = f"the published {self.published:.2%} ± {100 * self.margin:.2f} points"
        found = f"{self.summary.mean:.2%} of {_count(self.summary.n, 'seed')}"
        if self.summary.low is None:
            why = "one seed has no interval" if self.summary.n == 1 else "equal values have no interval"
            return f"{self.word}: {found} beside {goal}; {why}, give more seeds"
        interval = f"the 95% interval {self.summary.low:.2%} to {self.summary.high:.2%}"
        side = "above" if self.summary.mean > self.published else "below"
        place = {
            "reproduced": "lies within",
            "not reproduced": f"lies {side}",
            "undecided": "crosses a bound of",
        }[self.word]
        return f"{self.word}: {found}; {interval} {place} {goal}"


def summary(values: ArrayLike) -> Summary:
    """Summary of a group's values `(n,)`; the interval is Student's t ("Student" 1908), n - 1 degrees."""
    values = np.asarray(values, float)
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Summary(n, mean)
    deviation = float(values.std(ddof=1))
    if _constant(values):
        return Summary(n, mean, 0.0)
    half = stdtrit(n - 1, 1 - LEVEL / 2) * deviation / np.sqrt(n)
    return Summary(n, mean, deviation, float(mean - half), float(mean + half))


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Difference of two groups, each a dict seed -> value.

    Groups of the same seeds are paired: the t test of the differences within pairs ("Student" 1908), since
    equal seeds share their draws. Any other two groups are compared by Welch's t test (Welch 1947) of all
    their values, also where some of their seeds match: no run is dropped for lack of a partner. If values of
    equal seeds go up and down together, Welch's test then only errs towards no verdict.

    Raises NoVerdict of a group of fewer than two seeds, and where nothing varies.
    """
    if min(len(first), len(second)) < 2:
        raise NoVerdict("it takes two seeds of each, better five")
    if first.keys() == second.keys():
        samples = [np.array([first[seed] - second[seed] for seed in first])]
        test, estimate = "paired t", samples[0].mean()
    else:
        samples = [np.array(list(group.values()), float) for group in (first, second)]
        test, estimate = "Welch's t", samples[0].mean() - samples[1].mean()
    if all(map(_constant, samples)):
        raise NoVerdict(
            f"a difference of {100 * estimate:.2f} points in every seed shows no spread to judge by"
        )
    deviations = tuple(float(sample.std(ddof=1)) for sample in samples)
    error, degrees = _standard_error(deviations, [len(sample) for sample in samples])
    half = stdtrit(degrees, 1 - LEVEL / 2) * error
    return Difference(
        test,
        float(estimate),
        float(estimate - half),
        float(estimate + half),
        float(2 * stdtr(degrees, -abs(estimate) / error)),
        (len(first), len(second)),
        deviations,
    )


def mcnemar(first: ArrayLike, second: ArrayLike) -> Difference:
    """Difference in accuracy of two networks on the same images; which each got right, bool `(N,)`.

    p is McNemar's mid-p (Fagerland, Lydersen and Laake 2013, which found it never above its level): twice the
    binomial tail of the images that only one got right, the outcome itself counted half. The interval is that
    of Bonett and Price (2012), nearly but not exactly around the estimate.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    images = len(first)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    fewer, both = min(only_first, only_second), only_first + only_second
    p = 2 * binom.cdf(fewer, both, 0.5) - binom.pmf(fewer, both, 0.5)
    a, b = (only_first + 1) / (images + 2), (only_second + 1) / (images + 2)
    half = norm.ppf(1 - LEVEL / 2) * np.sqrt((a + b - (a - b) ** 2) / (images + 2))
    return Difference(
        "McNemar's mid-p",
        (only_first - only_second) / images,
        float(a - b - half),
        float(a - b + half),
        float(min(p, 1)),
        (1, 1),
        images=images,
    )


def holm(p_values: ArrayLike) -> np.ndarray:
    """p of each of m tests `(m,)` after Holm's correction (Holm 1979).

    The chance that any of those below 0.05 is so by chance is then at most 5%, however the tests depend on
    each other.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def seeds_needed(difference: Difference, pairs: int = 1, power: float = 0.8) -> int | None:
    """Seeds of each group for a t test to tell them apart with this power; None for more than `MOST_SEEDS`.

    Takes the observed difference and deviations for the true ones: a rough guide, the rougher the fewer seeds
    it comes from. From the noncentral t distribution (Cohen 1988, chapter 2), at the level of the strictest
    step of Holm's correction over `pairs`.
    """
    n = np.arange(2, MOST_SEEDS + 1)
    error, degrees = _standard_error(difference.deviations, [n] * len(difference.deviations))
    critical = stdtrit(degrees, 1 - LEVEL / pairs / 2)
    enough = nct.sf(critical, degrees, abs(difference.estimate) / error) >= power
    return int(n[enough.argmax()]) if enough.any() else None


def verdict(first: str, second: str, difference: Difference, p: float, pairs: int = 1) -> str:
    """The difference between groups of these names in words; p decides: Holm's where it is one of `pairs`."""
    half = 100 * (difference.high - difference.low) / 2
    size = f"{100 * abs(difference.estimate):.2f} ± {half:.2f} points"
    chance = f"p {_p(difference.p)}" + (
        f"; {_p(p).removeprefix('= ')} among {pairs} pairs" if pairs > 1 else ""
    )
    basis = f"({difference.test}, {_sample(difference)}, {chance})"
    better, worse = (first, second) if difference.estimate >= 0 else (second, first)
    if difference.images:
        better, worse = f"the network of {better}", f"that of {worse}"
    if p < LEVEL:
        text = f"{better} is better than {worse} by {size} {basis}"
    else:
        text = f"{better} and {worse} are not to be told apart, {size} {basis}"
    if difference.images:
        return f"{text}; one seed each, so nothing is known of other seeds"
    return text if p < LEVEL else f"{text}; {_more(difference, pairs)}"


def reproduction(values: ArrayLike, published: float, margin: float) -> Reproduction:
    """Whether runs `(k,)` meet a published figure, as a Reproduction.

    `margin` is how far a result may lie from the figure and still count as the same; it is for the caller to
    say, before looking, and has to hold the figure's own uncertainty: a paper's single run may itself be half
    a point from its recipe's mean. The words, by the 95% interval of the mean over all seeds:

    - *reproduced*: it lies wholly within published ± margin. Claimed: the mean is within the margin, not that
      it equals the figure. These are two one-sided tests (Schuirmann 1987) at 2.5% each, so the claim is
      wrong at most once in 40 times.
    - *not reproduced*: it lies wholly outside, on either side. Claimed: the mean is farther off than the
      margin, wrong at most once in 40 times. Nothing of the reason, and a better result counts too.
    - *undecided*: anything else; one seed, or equal values, always. No claim: more seeds narrow the interval.

    Raises ValueError unless the margin is positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, not {margin}")
    found = summary(values)
    word = "undecided"
    if found.low is not None and found.high is not None:
        if published - margin < found.low and found.high < published + margin:
            word = "reproduced"
        elif found.high < published - margin or found.low > published + margin:
            word = "not reproduced"
    return Reproduction(word, found, published, margin)


def _constant(values):
    """Whether values are equal but for rounding in their last bits."""
    return np.ptp(values) <= 1e-12


def _standard_error(deviations, sizes):
    """Of the mean of one sample, or the difference of two, and its degrees of freedom (Welch 1947)."""
    variances = [deviation**2 / n for deviation, n in zip(deviations, sizes, strict=True)]
    total = sum(variances)
    degrees = total**2 / sum(v**2 / (n - 1) for v, n in zip(variances, sizes, strict=True))
    return np.sqrt(total), degrees


def _more(difference, pairs):
    needed = seeds_needed(difference, pairs)
    if needed is None:
        return f"more than {MOST_SEEDS:,} seeds of each would be needed at this difference"
    first, second = difference.seeds
    seeds = _count(needed - first, "more seed") if first == second else _count(needed, "seed")
    return f"about {seeds} of each would, at this difference"


def _sample(difference):
    if difference.images:
        return _count(difference.images, "image")
    first, second = difference.seeds
    if difference.test == "paired t":
        return _count(first, "seed")
    return f"{first} and {second} seeds"


def _count(n, noun):
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _p(p):
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
