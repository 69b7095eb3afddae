"""Streams of losses: how often each detector alarms while nothing changes, and how soon it finds a change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from benchmarks.statistics.section import Plot, Section, Table

from homeostat.connectors.river import RiverDetector
from homeostat.stats.streams import Cusum, EDetector, StreamDetector

Floats = npt.NDArray[np.float64]
Build = Callable[[np.random.Generator], StreamDetector]
Draw = Callable[[np.random.Generator, int], Floats]

BASE = 0.2
REFERENCE = 2000
HORIZON = 2000
WARM = 1000
# Read in pieces after the change, so that reading stops soon after the alarm.
PIECE, SMALL_PIECE = 250, 50


def zero_one(rate: float) -> Draw:
    """Independent losses that are 1 with the given rate and 0 else."""
    return lambda rng, rows: (rng.random(rows) < rate).astype(np.float64)


def beta(mean: float, deviation: float) -> Draw:
    """Independent losses between 0 and 1 of a given mean and standard deviation."""
    size = mean * (1 - mean) / deviation**2 - 1
    return lambda rng, rows: rng.beta(mean * size, (1 - mean) * size, rows)


def sticky(rate: float, correlation: float) -> Draw:
    """0/1 losses of a Markov chain: each repeats the one before it with probability `correlation`, else is drawn."""

    def draw(rng: np.random.Generator, rows: int) -> Floats:
        drawn = (rng.random(rows) < rate).astype(np.float64)
        fresh = rng.random(rows) >= correlation
        fresh[0] = True
        return drawn[np.maximum.accumulate(np.where(fresh, np.arange(rows), 0))]

    return draw


def known(rate: float = BASE, **options: object) -> Build:
    """The e-detector that is told the base rate."""
    return lambda _: EDetector(rate, **options)  # type: ignore[arg-type]


def estimated(draw: Draw, rows: int = REFERENCE, **options: object) -> Build:
    """The e-detector that learns the base rate from its own reference rows, drawn anew for every stream."""
    return lambda rng: EDetector.fit(draw(rng, rows), **options)  # type: ignore[arg-type]


def river(method: str) -> Build:
    """River's detector with its default options."""
    return lambda _: RiverDetector(method)


@dataclass(frozen=True)
class Rate:
    """Alarms among stationary losses."""

    alarms: int
    losses: int

    @property
    def per_10_000(self) -> float:
        return 1e4 * self.alarms / self.losses


def false_alarms(build: Build, draw: Draw, *, streams: int, rows: int, rng: int) -> Rate:
    """Alarms on stationary streams; every detector goes on after an alarm as it is made to."""
    generator = np.random.default_rng(rng)
    alarms = sum(len(build(generator).update(draw(generator, rows))) for _ in range(streams))
    return Rate(alarms, streams * rows)


@dataclass(frozen=True)
class Delays:
    """Losses from a change to its alarm; runs with an alarm before the change are left out.

    A change that was not found within the horizon counts with the horizon, so the median is right up to there.
    """

    delays: Floats
    missed: int
    left_out: int
    covered: float

    @property
    def median(self) -> float:
        return float(np.median(self.delays)) if len(self.delays) else float("nan")

    @property
    def missed_share(self) -> float:
        return self.missed / len(self.delays) if len(self.delays) else float("nan")


def delays(
    build: Build, before: Draw, after: Draw, *, runs: int, rng: int, warm: int = WARM, mean: float = float("nan")
) -> Delays:
    """How many losses after a change the alarm comes; `mean` after it tells whether intervals cover it."""
    generator = np.random.default_rng(rng)
    found: list[int] = []
    missed = left_out = covered = 0
    for _ in range(runs):
        detector = build(generator)
        if len(detector.update(before(generator, warm))):
            left_out += 1
            continue
        changed = after(generator, HORIZON)
        piece = SMALL_PIECE if detector.run_length is None else PIECE
        for start in range(0, HORIZON, piece):
            positions = detector.update(changed[start : start + piece])
            if len(positions):
                found.append(int(positions[0]) - warm + 1)
                low, high = detector.alarms[0].interval
                covered += low <= mean <= high
                break
        else:
            missed += 1
    every = np.array([*found, *[HORIZON] * missed], dtype=np.float64)
    return Delays(every, missed, left_out, covered / max(len(found), 1))


@dataclass(frozen=True)
class Contestant:
    """A detector with the sizes of its simulations: River's are read value by value, and KSWIN tests at each."""

    name: str
    build: Build
    streams: int
    runs: int
    warm: int = WARM
    rows: int = 20_000


def contestants(*, quick: bool) -> list[Contestant]:
    less = 10 if quick else 1
    return [
        Contestant("e-detector, base rate known", known(), 300 // less, 800 // less),
        Contestant("e-detector, base rate from 2,000 rows", estimated(zero_one(BASE)), 200 // less, 800 // less),
        Contestant("CUSUM told .2 → .3", lambda _: Cusum(BASE, 0.3), 100 // less, 500 // less),
        Contestant("CUSUM told .2 → .4", lambda _: Cusum(BASE, 0.4), 100 // less, 500 // less),
        Contestant("ADWIN (River)", river("ADWIN"), 100 // less, 500 // less),
        Contestant("DDM (River)", river("DDM"), 50 // less, 500 // less),
        Contestant("EDDM (River)", river("EDDM"), 10 // less, 1500 // less),
        Contestant("HDDM_A (River)", river("HDDM_A"), 10 // less, 100 // less),
        Contestant("HDDM_W (River)", river("HDDM_W"), 10 // less, 100 // less),
        Contestant("Page-Hinkley (River)", river("Page-Hinkley"), 50 // less, 500 // less),
        Contestant("KSWIN (River)", river("KSWIN"), 1, 2, 200, 500 if quick else 2000),
    ]


def _percent(found: Delays) -> str:
    return f"{100 * found.missed_share:.1f} %" if len(found.delays) else "none ran"


def comparison(*, quick: bool) -> Table:
    """The table of all detectors on 0/1 losses of base rate .2."""
    rows = []
    for number, one in enumerate(contestants(quick=quick)):
        draw = zero_one(BASE)
        rate = false_alarms(one.build, draw, streams=one.streams, rows=one.rows, rng=100 + number)
        cells: list[object] = [one.name, rate.per_10_000, f"{rate.alarms} in {rate.losses:,}"]
        for after in (0.3, 0.4):
            found = delays(one.build, draw, zero_one(after), runs=one.runs, rng=200 + number, warm=one.warm)
            cells += [found.median, _percent(found)]
        rows.append((*cells, len(found.delays)))
    columns = ("detector", "false alarms per 10,000", "counted", ".2 → .3", "missed", ".2 → .4", "missed", "runs")
    caption = (
        "0/1 losses at base rate .2. Median number of losses from the change to the alarm, after 1,000 stationary "
        "losses (200 for KSWIN, which remembers 100); runs with an alarm before the change are left out; missed: not "
        "found within 2,000; runs: those counted, few for KSWIN, which takes "
        "about a millisecond a loss. CUSUM is told what is to come, which nobody knows: the shortest delays possible."
    )
    return Table(columns, rows, caption)


def rates(*, quick: bool) -> Table:
    """Other base rates: the guaranteed run length against the true one."""
    rows = []
    for number, (rate, after) in enumerate(((0.01, 0.03), (0.05, 0.1), (0.2, 0.3), (0.5, 0.6))):
        streams = 10 if quick else 80
        length = EDetector(rate).expected_run_length()
        alarms = false_alarms(known(rate), zero_one(rate), streams=streams, rows=25_000, rng=300 + number)
        runs = 40 if quick else 200
        cells: list[object] = [f"{rate:g} → {after:g}", 1e4 / length.guaranteed, 1e4 / length.estimate]
        cells += [alarms.per_10_000]
        for build in (known(rate), estimated(zero_one(rate))):
            found = delays(build, zero_one(rate), zero_one(after), runs=runs, rng=310 + number, mean=after)
            cells.append(found.median)
        rows.append((*cells, f"{100 * found.covered:.0f} %"))
    columns = (
        "base rate → changed",
        "guaranteed bound",
        "expected_run_length",
        "measured",
        "delay, rate known",
        "delay, 2,000 rows",
        "intervals that cover",
    )
    return Table(
        columns,
        rows,
        "Other base rates. False alarms per 10,000: at most, as `expected_run_length` says, and counted; median "
        "delays; and how many of the alarms' 95 % intervals hold the changed mean (they are for the mean since "
        "the start that the alarm names, which may lie before the change).",
    )


def references(*, quick: bool) -> Table:
    """How many reference rows a fitted detector needs."""
    rows = []
    for number, size in enumerate((100, 300, 1000, 2000, 10_000)):
        build = estimated(zero_one(BASE), size)
        streams = 40 if quick else 150
        alarms = false_alarms(build, zero_one(BASE), streams=streams, rows=10_000, rng=400 + number)
        cells: list[object] = [f"{size:,}", alarms.per_10_000]
        for after in (0.3, 0.4):
            runs = 30 if quick else 150
            found = delays(build, zero_one(BASE), zero_one(after), runs=runs, rng=410 + number)
            cells += [found.median, _percent(found)]
        rows.append(tuple(cells))
    columns = ("reference rows", "false alarms per 10,000", ".2 → .3", "missed", ".2 → .4", "missed")
    return Table(columns, rows, "`EDetector.fit` on as many reference rows, drawn anew for every stream.")


def other_losses(*, quick: bool) -> Table:
    """Losses that are not 0/1, improvements, and losses that depend on those before."""
    streams = 10 if quick else 60
    runs = 30 if quick else 200
    smooth, smoother = beta(BASE, 0.1), beta(0.3, 0.1)
    cases: list[tuple[str, Build, Draw, Draw]] = [
        ("Beta losses, sd .1; rate known", known(), smooth, smoother),
        ("Beta losses, sd .1; rate and variance from 2,000 rows", estimated(smooth), smooth, smoother),
        ("0/1, two-sided, .2 → .3", known(direction="both"), zero_one(BASE), zero_one(0.3)),
        ("0/1, two-sided, .2 → .1", known(direction="both"), zero_one(BASE), zero_one(0.1)),
        (
            "0/1, two-sided from 2,000 rows, .2 → .1",
            estimated(zero_one(BASE), direction="both"),
            zero_one(BASE),
            zero_one(0.1),
        ),
    ]
    for correlation in (0.1, 0.3, 0.6):
        draws = sticky(BASE, correlation), sticky(0.3, correlation)
        cases.append((f"0/1, lag-1 correlation {correlation:g}", known(), *draws))
    rows: list[tuple[object, ...]] = []
    for number, (name, build, before, after) in enumerate(cases):
        alarms = false_alarms(build, before, streams=streams, rows=25_000, rng=500 + number)
        found = delays(build, before, after, runs=runs, rng=520 + number)
        rows.append((name, alarms.per_10_000, found.median, _percent(found)))
    for method in ("ADWIN", "Page-Hinkley", "KSWIN"):
        size = (1, 500 if quick else 5000) if method == "KSWIN" else (streams // 2, 25_000)
        alarms = false_alarms(river(method), smooth, streams=size[0], rows=size[1], rng=530)
        found = delays(river(method), smooth, smoother, runs=3 if method == "KSWIN" else runs, rng=531, warm=200)
        rows.append((f"Beta losses, sd .1; {method} (River)", alarms.per_10_000, found.median, _percent(found)))
    for correlation in (0.3, 0.6):
        alarms = blocked_alarms(correlation, block=20, streams=streams, rows=25_000, rng=540)
        rows.append((f"the same, correlation {correlation:g}, means of 20 losses", alarms.per_10_000, "", ""))
    columns = ("losses", "false alarms per 10,000", "median delay, .2 → .3", "missed")
    return Table(
        columns,
        rows,
        "Losses of other kinds. The run length is promised for losses whose mean given the past is in order; losses "
        "that resemble those before them break that, and alarms come more often. Means of blocks longer than the "
        "memory, with the baseline and variance learned from such means, keep it here.",
    )


def blocked_alarms(correlation: float, *, block: int, streams: int, rows: int, rng: int) -> Rate:
    """Alarms where correlated losses are averaged in blocks before a detector fitted on block means sees them."""
    generator = np.random.default_rng(rng)
    draw = sticky(BASE, correlation)
    alarms = 0
    for _ in range(streams):
        means = (draw(generator, part * block).reshape(part, block).mean(axis=1) for part in (500, rows // block))
        alarms += len(EDetector.fit(next(means)).update(next(means)))
    return Rate(alarms, streams * (rows // block) * block)


def delay_plot(*, quick: bool) -> Plot:
    """Median delay against the size of the change."""
    afters = (0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
    lines = {
        "e-detector": (known(), 150),
        "2,000 rows": (estimated(zero_one(BASE)), 150),
        "ADWIN": (river("ADWIN"), 100),
        "DDM": (river("DDM"), 150),
        "HDDM_A": (river("HDDM_A"), 30),
        "HDDM_W": (river("HDDM_W"), 30),
        "Page-H.": (river("Page-Hinkley"), 100),
    }
    series = {}
    for number, (name, (build, runs)) in enumerate(lines.items()):
        size = max(runs // 10, 5) if quick else runs
        medians = [
            delays(build, zero_one(BASE), zero_one(after), runs=size, rng=600 + number).median for after in afters
        ]
        series[name] = (afters, tuple(medians))
    return Plot(
        "loss_streams_delay",
        "Losses until a rise from .2 is found (median; 2,000: not found)",
        "mean loss after the change",
        "losses until the alarm",
        series,
    )


def run(*, quick: bool) -> Section:
    words = (
        "Detectors read losses one after another and alarm when the mean has changed. The e-detector promises at most "
        "one false alarm in 50,000 losses on average, for any losses in [0, 1], so at most 0.2 in 10,000; the tables "
        "show that this holds, what it costs in delay, and where it does not hold: with few reference rows, and with "
        "losses that depend on those before them. River's detectors, with their default options, promise no rate."
    )
    tables = [part(quick=quick) for part in (comparison, rates, references, other_losses)]
    return Section("Changes in streams of losses", words, tables, [delay_plot(quick=quick)])
