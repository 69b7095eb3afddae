"""What share of shifts the default test of samples finds, beside the usual methods at the same false-alarm rate.

The shifts are those of Rabanser, Günnemann and Lipton, "Failing loudly: an empirical study of methods for detecting
dataset shift" (2019), on scikit-learn's digits. A classifier is trained on 600 images; every run draws a reference of
600 and a window of n from the other 1,197, so both are new to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.statistics.section import Plot, Section, Table
from scipy.ndimage import map_coordinates
from sklearn import decomposition
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from homeostat.stats.drift.label_shift import black_box_detector, black_box_shift
from homeostat.stats.drift.multivariate import compare_samples, domain_classifier, mmd, pca_reconstruction

Floats = npt.NDArray[np.float64]

SIZES = (10, 20, 50, 100, 200, 500)
REFERENCE = 600
LEVEL = 0.05
PERMUTATIONS = 99
OURS, RAW, PCA, OUTPUTS = "Homeostat", "KS on features", "KS on PCA", "KS on outputs (BBSDs)"
RIVALS = (RAW, PCA, OUTPUTS)


@dataclass(frozen=True)
class Shift:
    """A share `part` of the window's images is changed, and a share `gone` of the zeros is left out of it."""

    name: str
    kind: str = "none"
    part: float = 0.0
    gone: float = 0.0


SHIFTS = (
    Shift("small noise, 100 %", "small noise", 1.0),
    Shift("medium noise, 50 %", "medium noise", 0.5),
    Shift("large noise, 10 %", "large noise", 0.1),
    Shift("large noise, 50 %", "large noise", 0.5),
    Shift("small image shift, 50 %", "small image", 0.5),
    Shift("small image shift, 100 %", "small image", 1.0),
    Shift("medium image shift, 10 %", "medium image", 0.1),
    Shift("medium image shift, 50 %", "medium image", 0.5),
    Shift("large image shift, 10 %", "large image", 0.1),
    Shift("adversarial, 50 %", "adversarial", 0.5),
    Shift("adversarial, 100 %", "adversarial", 1.0),
    Shift("half of the zeros gone", gone=0.5),
    Shift("all zeros gone", gone=1.0),
    Shift("medium image 10 %, half of the zeros gone", "medium image", 0.1, 0.5),
    Shift("medium image 50 %, half of the zeros gone", "medium image", 0.5, 0.5),
)
NOTHING = Shift("nothing")


@dataclass(frozen=True)
class Images:
    """The 1,197 images that were not trained on, as they are and under each kind of change, and what is made of them.

    `codes` are, by kind, the ranks of every feature, component and output (rows) among all kinds, so that KS distances
    of any draw follow from sorting integers.
    """

    features: Mapping[str, Floats]
    outputs: Mapping[str, Floats]
    codes: Mapping[str, npt.NDArray[np.uint32]]
    zeros: npt.NDArray[np.bool_]
    widths: tuple[int, int, int]


@lru_cache(maxsize=2)
def images(*, sensor: float = 0.0) -> Images:
    """The changed images; `sensor` is the standard deviation of noise that every image, the reference too, carries."""
    rng = np.random.default_rng(0)
    pixels, digits = load_digits(return_X_y=True)
    pixels = pixels / 16
    order = rng.permutation(len(pixels))
    taught, kept = order[:600], order[600:]
    lessons = pixels[taught] + rng.normal(0, sensor, pixels[taught].shape)
    model = LogisticRegression(max_iter=2_000).fit(lessons, digits[taught])
    clean, truth = pixels[kept], digits[kept]
    # The gradient of the loss with respect to the image, whose sign the attack follows (FGSM, Goodfellow et al. 2015).
    slope = (model.predict_proba(clean) - np.eye(10)[truth]) @ model.coef_
    changed = {
        "none": clean,
        "small noise": _clipped(clean + rng.normal(0, 1 / 255, clean.shape)),
        "medium noise": _clipped(clean + rng.normal(0, 10 / 255, clean.shape)),
        "large noise": _clipped(clean + rng.normal(0, 100 / 255, clean.shape)),
        "small image": moved(clean, 10, 0.05, 0.1, rng, flips=False),
        "medium image": moved(clean, 40, 0.2, 0.2, rng, flips=True),
        "large image": moved(clean, 90, 0.4, 0.4, rng, flips=True),
        "adversarial": _clipped(clean + 0.05 * np.sign(slope)),
    }
    features = {kind: rows + rng.normal(0, sensor, rows.shape) for kind, rows in changed.items()}
    outputs = {kind: model.predict_proba(rows) for kind, rows in features.items()}
    components = decomposition.PCA(20, random_state=0).fit(lessons)
    everything = {k: np.hstack((features[k], components.transform(features[k]), outputs[k])) for k in features}
    stacked = np.concatenate(list(everything.values()))
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in stacked.T]).astype(np.uint32)
    codes = dict(zip(everything, np.split(ranks, len(everything), axis=1), strict=True))
    return Images(features, outputs, codes, truth == 0, (64, 20, 10))


def moved(rows: Floats, degrees: float, across: float, zoom: float, rng: np.random.Generator, *, flips: bool) -> Floats:
    """8 by 8 images rotated, shifted, zoomed and mirrored at random within these bounds."""

    def any_of(bound: float) -> Floats:
        return rng.uniform(-bound, bound, len(rows))[:, None, None]

    angle, down, right = any_of(np.deg2rad(degrees)), 8 * any_of(across), 8 * any_of(across)
    tall, wide = 1 + any_of(zoom), 1 + any_of(zoom)
    mirror = np.where(rng.random(len(rows)) < 0.5, -1, 1)[:, None, None] if flips else 1
    y, x = np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5, indexing="ij")
    up = (np.cos(angle) * y - np.sin(angle) * x) * tall + down + 3.5
    along = (np.sin(angle) * y + np.cos(angle) * x) * wide * mirror + right + 3.5
    image = np.broadcast_to(np.arange(len(rows))[:, None, None], up.shape)
    found = map_coordinates(rows.reshape(-1, 8, 8), np.stack((image, up, along)), order=1, mode="nearest")
    return _clipped(found.reshape(len(rows), 64))


def _clipped(rows: Floats) -> Floats:
    return np.clip(rows, 0.0, 1.0)


@dataclass(frozen=True)
class Draw:
    """A reference and a window: rows of the images as they are, then of the changed kind, then as they are."""

    plain: npt.NDArray[np.intp]
    altered: npt.NDArray[np.intp]
    rest: npt.NDArray[np.intp]
    kind: str

    def of(self, by_kind: Mapping[str, Any], *, axis: int = 0) -> Any:
        """Their rows, the reference's first."""
        plain, altered = by_kind["none"], by_kind[self.kind]
        parts = (plain.take(self.plain, axis), altered.take(self.altered, axis), plain.take(self.rest, axis))
        return np.concatenate(parts, axis=axis)


def drawn(made: Images, shift: Shift, n: int, rng: np.random.Generator) -> Draw:
    """A random reference of 600 and a window of n, with ⌈part · n⌉ changed images."""
    order = rng.permutation(len(made.zeros))
    plain, left = order[:REFERENCE], order[REFERENCE:]
    if shift.gone:
        left = left[~(made.zeros[left] & (rng.random(len(left)) < shift.gone))]
    window = left[:n]
    count = int(np.ceil(shift.part * n - 1e-9))
    return Draw(plain, window[:count], window[count:], shift.kind)


def ours(made: Images, draw: Draw, rng: np.random.Generator) -> dict[str, float]:
    """How strongly `compare_samples` speaks for a shift: less its p-value."""
    rows, outputs = draw.of(made.features), draw.of(made.outputs)
    result = compare_samples(
        rows[:REFERENCE],
        rows[REFERENCE:],
        reference_outputs=outputs[:REFERENCE],
        current_outputs=outputs[REFERENCE:],
        permutations=PERMUTATIONS,
        rng=rng,
    )
    return {OURS: -result.p}


def rivals(made: Images, draw: Draw, _: np.random.Generator) -> dict[str, float]:
    """The largest KS distance of pixels, of components and of outputs; Bonferroni's p is monotone in each."""
    codes = draw.of(made.codes, axis=1)
    total = codes.shape[1]
    current = (np.arange(total) >= REFERENCE).astype(np.uint32)
    # The rank and the sample in one number: sorting it is the fastest way to both distribution functions.
    ordered = np.sort(codes * np.uint32(2) + current, axis=1)
    steps = np.array([total - REFERENCE, -REFERENCE], dtype=np.int32)[ordered & 1]
    gaps = np.abs(np.cumsum(steps, axis=1, dtype=np.int32))
    value = ordered >> 1
    gaps[:, :-1] *= value[:, :-1] != value[:, 1:]
    distances = gaps.max(axis=1) / (REFERENCE * (total - REFERENCE))
    parts = np.split(distances, np.cumsum(made.widths)[:-1])
    return {name: float(part.max()) for name, part in zip(RIVALS, parts, strict=True)}


@dataclass
class Cutoff:
    """The score that 5 % of null draws pass; a tie with it counts by the share that makes it exactly 5 %."""

    null: Floats
    score: float = field(init=False)
    tie: float = field(init=False)

    def __post_init__(self) -> None:
        self.score = float(np.quantile(self.null, 1 - LEVEL, method="inverted_cdf"))
        equal = float(np.mean(self.null == self.score))
        self.tie = float(np.clip((LEVEL - np.mean(self.null > self.score)) / equal, 0.0, 1.0))

    def power(self, scores: Floats) -> float:
        """The share of scores that pass."""
        return float(np.mean(scores > self.score) + self.tie * np.mean(scores == self.score))


Method = Callable[[Images, Draw, np.random.Generator], dict[str, float]]
Cells = dict[tuple[str, int], dict[str, tuple[float, int]]]


def scored(
    method: Method, made: Images, shift: Shift, n: int, runs: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """The scores of a method's statistics in `runs` draws."""
    found = [method(made, drawn(made, shift, n, rng), rng) for _ in range(runs)]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def powers(
    *,
    sizes: tuple[int, ...] = SIZES,
    shifts: tuple[Shift, ...] = SHIFTS,
    null_runs: int,
    runs: int,
    most_runs: int,
    error: float = 0.03,
    sensor: float = 0.0,
    rng: int | np.random.Generator = 0,
) -> Cells:
    """Power and runs by shift, size and method, at 5 % false alarms of each.

    A cell starts with `runs` draws and takes more until its standard error is at most `error`, or at `most_runs`.
    """
    generator, made = np.random.default_rng(rng), images(sensor=sensor)
    cells: Cells = {}
    for n in sizes:
        for method in (ours, rivals):
            # Distances are cheap and their null is unknown; p-values are near uniform there by construction.
            null = scored(method, made, NOTHING, n, null_runs * (4 if method is rivals else 1), generator)
            cutoffs = {name: Cutoff(scores) for name, scores in null.items()}
            for shift in shifts:
                scores = scored(method, made, shift, n, runs, generator)
                while True:
                    found = {name: cutoffs[name].power(values) for name, values in scores.items()}
                    count = len(next(iter(scores.values())))
                    # One success and one failure more, so that a share of 0 or 1 does not stand for certainty.
                    shares = [(power * count + 1) / (count + 2) for power in found.values()]
                    if count >= most_runs or max(s * (1 - s) / count for s in shares) <= error**2:
                        break
                    more = scored(method, made, shift, n, min(runs, most_runs - count), generator)
                    scores = {name: np.concatenate((scores[name], more[name])) for name in scores}
                cells.setdefault((shift.name, n), {}).update({name: (found[name], count) for name in found})
    return cells


def mean_power(cells: Cells, n: int, method: str) -> float:
    """Averaged over the shifts."""
    return float(np.mean([cell[method][0] for (_, size), cell in cells.items() if size == n]))


def worst_loss(cells: Cells) -> tuple[float, str, int]:
    """How far the default lies below the better of KS on features and on outputs, where that is worst."""
    losses = [(max(cell[RAW][0], cell[OUTPUTS][0]) - cell[OURS][0], shift, n) for (shift, n), cell in cells.items()]
    return max(losses)


NULLS = ("normal", "heavy tails", "discrete", "correlated")


def null_rows(kind: str, count: int, rng: np.random.Generator) -> Floats:
    """Rows of six features: independent normal, Cauchy, counts with few values, or nearly copies of one another."""
    rows = rng.normal(size=(count, 6))
    if kind == "heavy tails":
        return np.asarray(rng.standard_cauchy(size=(count, 6)))
    if kind == "discrete":
        return rng.poisson(0.5, size=(count, 6)).astype(np.float64)
    if kind == "correlated":
        return np.asarray(rows[:, :1] + 0.2 * rows)
    return rows


def levels(*, runs: int, rng: int | np.random.Generator = 0) -> dict[tuple[str, str], float]:
    """The share of samples of 120 and 40 rows without a change that each test calls changed at p ≤ .05."""
    generator = np.random.default_rng(rng)
    alarms: dict[tuple[str, str], int] = {}
    for kind in NULLS:
        for _ in range(runs):
            rows = null_rows(kind, 160, generator)
            before, after = rows[:120], rows[120:]
            # A model of three classes that knows the rows' first feature through noise.
            raw = np.tanh(rows[:, :3]) + generator.normal(size=(160, 3))
            outputs = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
            labels = np.where(generator.random(160) < 0.7, outputs.argmax(axis=1), generator.integers(0, 3, 160))
            hard = outputs.argmax(axis=1)
            labels[:3] = (0, 1, 2)
            found = {
                "compare_samples": compare_samples(
                    before,
                    after,
                    reference_outputs=outputs[:120],
                    current_outputs=outputs[120:],
                    permutations=99,
                    rng=generator,
                ).p,
                "domain_classifier": domain_classifier(before, after, permutations=39, rng=generator).p,
                "mmd": mmd(before, after, permutations=99, rng=generator).p,
                "pca_reconstruction": pca_reconstruction(before, after, permutations=99, rng=generator).p,
                "black_box_shift": black_box_shift(labels[:120], hard[:120], hard[120:], draws=100, rng=generator).p,
                "black_box_detector": black_box_detector(outputs[:120], outputs[120:]).p,
            }
            for test, p in found.items():
                alarms[test, kind] = alarms.get((test, kind), 0) + (p <= LEVEL)
    return {key: count / runs for key, count in alarms.items()}


def run(*, quick: bool) -> Section:
    """Both power studies and the levels."""
    sizes = (20, 100) if quick else SIZES
    cells = powers(
        sizes=sizes, null_runs=60 if quick else 200, runs=15 if quick else 40, most_runs=15 if quick else 280
    )
    noisy_sizes = (20, 100)
    noisy_runs = 10 if quick else 30
    noisy = powers(sizes=noisy_sizes, null_runs=60 if quick else 150, runs=noisy_runs, most_runs=noisy_runs, sensor=0.1)
    alarms = levels(runs=10 if quick else 200)
    methods = (OURS, *RIVALS)
    loss, where, at = worst_loss(cells)
    noisy_loss, noisy_where, noisy_at = worst_loss(noisy)
    rows = [
        [shift.name, n, *(cells[shift.name, n][method][0] for method in methods), cells[shift.name, n][OURS][1]]
        for shift in SHIFTS
        for n in sizes
    ]
    means = [[n, *(mean_power(cells, n, method) for method in methods)] for n in sizes]
    noisy_means = [[n, *(mean_power(noisy, n, method) for method in methods)] for n in noisy_sizes]
    words = (
        "`compare_samples` beside Kolmogorov–Smirnov tests with Bonferroni's correction: on the pixels, on 20 "
        "principal components, and on the classifier's probabilities. The images are scikit-learn's digits, with a "
        "reference of 600 and a window of n, under the shifts of Rabanser, Günnemann and Lipton (2019). Each "
        "method's threshold is set on null draws of the same size, so that all have 5 % false alarms. Cells take "
        "draws until their standard error is about 0.03. Where it loses most, `compare_samples` lies "
        f"{loss:.2f} below the better of KS on pixels and on outputs ({where}, n = {at}). Missing zeros are hard for "
        "all methods: at most a tenth of the rows is gone.\n\n"
        "Digits have pixels that are always blank. That makes any change to them easy to find for a method that "
        "looks at rare values, and hides it from KS. The second study adds noise of a tenth of the full brightness "
        f"to every image, those of the reference too. Its cells have {noisy_runs} draws each, so single ones are "
        f"uncertain by up to {0.5 / noisy_runs**0.5:.2f}; the largest loss is {noisy_loss:.2f} ({noisy_where}, "
        f"n = {noisy_at})."
    )
    tests = sorted({test for test, _ in alarms})
    return Section(
        "Shifts of images found, beside the usual methods",
        words,
        [
            Table(["n", *methods], means, "Mean power over all shifts."),
            Table(["n", *methods], noisy_means, "Mean power where every image carries noise."),
            Table(["shift", "n", *methods, "draws"], rows, "Power by shift."),
            Table(
                ["test", *NULLS],
                [[test, *(alarms[test, kind] for kind in NULLS)] for test in tests],
                "Share of alarms at p ≤ .05 where nothing changed: 120 reference and 40 current rows of six features.",
            ),
        ],
        [
            Plot(
                "drift_power",
                "Mean power at 5 % false alarms",
                "rows of the window",
                "share of shifts found",
                {method: (sizes, [mean_power(cells, n, method) for n in sizes]) for method in methods},
                log_x=True,
            )
        ],
    )
