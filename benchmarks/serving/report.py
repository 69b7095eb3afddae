"""Tables of what was measured: as text, and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.serving.measure import LOW_RATE, Subject
from benchmarks.serving.own import Many

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Table:
    """A heading, names of columns, and rows of texts."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def as_text(self) -> str:
        """Columns one under the other: words to the left, figures to the right."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.head))]
        figures = [all(not row[at] or row[at][0] in "0123456789<–-" for row in self.rows) for at in range(len(widths))]
        made = []
        for line in lines:
            cells = zip(line, widths, figures, strict=True)
            made.append("  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in cells).rstrip())
        made.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([self.title, "", *made, *(["", self.note] if self.note else [])])

    def as_markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        made = [line(self.head), line(["---"] * len(self.head)), *(line(row) for row in self.rows)]
        return "\n".join([f"## {self.title}", "", *([self.note, ""] if self.note else []), *made])


@dataclass(frozen=True)
class Target:
    """What should hold, what was measured, and whether it holds; None where it could not be told."""

    what: str
    wanted: str
    found: str
    is_met: bool | None


@dataclass
class Results:
    """All of a run: Homeostat's kinds of requests, plain JSON first, and the peers."""

    own: list[Subject]
    peers: list[Subject]
    many: Many | None = None
    import_seconds: float | None = None
    about: list[tuple[str, str]] = field(default_factory=list)

    def peer(self, key: str) -> Subject | None:
        found = next((peer for peer in self.peers if peer.key == key), None)
        return found if found is not None and found.best else None


def ms(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def ratio(own: float, other: float) -> str:
    found = own / other
    return f"{found:.2f}" if found < 10 else f"{found:,.0f}"


def throughput(results: Results) -> Table:
    """Everybody beside Homeostat, by connections."""
    plain = results.own[0]
    asked = sorted({number for subject in (plain, *results.peers) for number in subject.closed})
    rows = []
    for subject in (plain, *results.peers):
        if not subject.best:
            if not subject.problem:
                continue
            rows.append([subject.title, subject.version, *["–"] * len(asked), "–", "–", subject.problem])
            continue
        rates = [f"{subject.rate(number):,.0f}" if number in subject.closed else "–" for number in asked]
        times = ratio(plain.best, subject.best) if plain.best else "–"
        rows.append([subject.title, subject.version, *rates, times, f"{subject.errors:,}", subject.problem])
    return Table(
        "Requests a second",
        ["server", "version", *(f"{number} conn." for number in asked), "Homeostat is × as fast", "errors", "problem"],
        rows,
        "Closed loop: the next request goes out once the last is answered. The factor compares the best of each.",
    )


def closed_latency(results: Results) -> Table:
    rows = []
    for subject in (results.own[0], *results.peers):
        for number, ones in sorted(subject.closed.items()):
            shown = [ms(median(getattr(one, name) for one in ones)) for name in ("p50", "p99", "p999")]
            cpu = f"{median(subject.cpu[number]) * 1e6:,.0f}" if number in subject.cpu else "–"
            rows.append([subject.title, str(number), *shown, cpu])
    return Table(
        "Milliseconds in a closed loop, and cost",
        ["server", "connections", "p50", "p99", "p99.9", "CPU µs a request"],
        rows,
        "The processor's time is that of the server and all below it: it depends least on what else the machine does.",
    )


def open_latency(results: Results) -> Table:
    rows = []
    for subject in (results.own[0], *results.peers):
        for ones in (subject.half, subject.low):
            if ones:
                shown = [ms(median(getattr(one, name) for one in ones)) for name in ("p50", "p99", "p999", "late_ms")]
                rate = f"{median(one.rate for one in ones):,.0f}"
                rows.append([subject.title, rate, *shown, f"{sum(one.errors for one in ones):,}"])
    return Table(
        "Milliseconds in an open loop",
        ["server", "requests/s", "p50", "p99", "p99.9", "p99 of the client's own", "errors"],
        rows,
        "Requests at a constant rate, timed from the moment when each was due: half of the best rate of the closed "
        f"loop, and {LOW_RATE:.0f} a second. The client's own is how late it came to requests while it could have sent "
        "them.",
    )


def sizes(results: Results) -> Table:
    rows = []
    for subject in (results.own[0], *results.peers):
        if subject.starts:
            held = [
                f"{median(getattr(one, name) for one in subject.memories) / MEGABYTE:,.0f}" if subject.memories else "–"
                for name in ("resident", "proportional")
            ]
            rows.append([subject.title, f"{median(subject.starts):.2f}", *held])
    return Table(
        "Start and memory",
        ["server", "seconds to the first answer", "RSS, MB", "PSS, MB"],
        rows,
        "Of the process and all below it, after the load.",
    )


def own_bodies(results: Results) -> Table:
    rows = []
    for subject in results.own:
        if subject.problem:
            rows.append([subject.title, "–", "–", "–", "–", "–", subject.problem])
        for number, ones in sorted(subject.closed.items()):
            many = subject.rate(number)
            shown = [ms(median(getattr(one, name) for one in ones)) for name in ("p50", "p99")]
            rows.append([subject.title, str(number), f"{many:,.0f}", f"{many * subject.rows:,.0f}", *shown, ""])
    return Table(
        "Homeostat by the kind of request",
        ["request", "connections", "requests/s", "rows/s logged", "p50 ms", "p99 ms", "problem"],
        rows,
    )


def log_check(results: Results) -> Table:
    rows = []
    for subject in results.own:
        if subject.logged:
            sums = [
                sum(getattr(one, name) for one in subject.logged) for name in ("replied", "logged", "lost", "unread")
            ]
            right = all(one.is_right for one in subject.logged)
            rows.append([subject.title, *(f"{value:,}" for value in sums), "yes" if right else "NO"])
    return Table(
        "Rows of replies and rows of the log",
        ["request", "rows in replies of 200", "rows in the log", "lost", "reply not read", "as it should be"],
        rows,
        "Read from the log after each run. wrk hangs up with a request under way on each connection: at most so many "
        "rows may be in the log whose reply nobody read. In an open loop the two numbers must be equal.",
    )


def others(results: Results) -> Table:
    rows = []
    if results.import_seconds is not None:
        rows.append(["`import homeostat`, beyond Python's own start", f"{results.import_seconds:.2f} s"])
    many = results.many
    if many is not None:
        share = many.resident / many.files
        rows += [
            [f"start until {many.models} models are ready", f"{many.seconds:.2f} s"],
            [f"RSS of the serving process with {many.models} models", f"{many.resident / MEGABYTE:,.0f} MB"],
            ["RSS of the serving process with one model", f"{many.resident_of_one / MEGABYTE:,.0f} MB"],
            ["files of these models, in sum", f"{many.files / MEGABYTE:,.0f} MB ({share:.1f} times that is the RSS)"],
        ]
        if many.models > 1:
            each = (many.resident - many.resident_of_one) / (many.models - 1)
            rows.append(["RSS for each further model", f"{each / MEGABYTE:,.1f} MB"])
    return Table("Other figures of Homeostat", ["what", "measured"], rows)


def targets(results: Results) -> list[Target]:
    """What Homeostat promises itself, held against this run."""
    plain, found = results.own[0], []

    def against(key: str, what: str, least: float, wanted: str, asked: Subject | None = plain) -> None:
        peer = results.peer(key)
        if peer is None or asked is None or not asked.best:
            found.append(Target(what, wanted, "not measured", None))
            return
        got = asked.best / peer.best
        shown = f"{got:.0%}" if wanted.endswith("%") else f"{got:,.2f} ×" if got < 10 else f"{got:,.0f} ×"
        found.append(Target(what, wanted, shown, got >= least))

    against("mlserver", "requests a second beside MLServer", 100.0, "≥ 100 ×")
    same = next((one for one in results.own if one.key == "v2-json"), None)
    against("mlserver", "the same, both by the Open Inference Protocol (V2, JSON)", 100.0, "≥ 100 ×", same)
    against("fastapi-onnx", "requests a second beside FastAPI with ONNX and no logging", 1.5, "≥ 1.5 ×")
    against("constant", "requests a second beside the same ASGI server answering a constant", 0.6, "≥ 60 %")
    checks = [one for subject in results.own for one in subject.logged]
    lost = sum(one.lost for one in checks)
    right = all(one.is_right for one in checks)
    words = f"{lost:,} lost of {sum(one.replied for one in checks):,}" + ("" if right else ", and the numbers differ")
    found.append(Target("answered rows that are not in the log", "0", words, right if checks else None))
    wrong = sum(subject.errors for subject in results.own)
    found.append(Target("errors of Homeostat", "0", f"{wrong:,}", wrong == 0 if plain.best else None))
    if results.import_seconds is not None:
        spent = results.import_seconds
        found.append(Target("`import homeostat`", "< 0.3 s", f"{spent:.2f} s", spent < 0.3))
    if plain.half:
        p99 = median(one.p99 for one in plain.half)
        rate = median(one.rate for one in plain.half)
        found.append(Target("p99 at half of the capacity", "< 5 ms", f"{ms(p99)} ms at {rate:,.0f}/s", p99 < 5.0))
    batches = [subject.best * subject.rows for subject in results.own if subject.rows > 1]
    if any(batches):
        found.append(
            Target("rows a second in binary batches, logged", "≥ 100,000", f"{max(batches):,.0f}", max(batches) >= 1e5)
        )
    if results.many is not None:
        found += many_targets(results.many)
    return found


def many_targets(many: Many) -> list[Target]:
    """What a process with many models promises: 15 at least, or else nothing can be told."""
    is_full = many.models >= 15
    most = 250 * MEGABYTE + 1.5 * many.files
    is_small, is_quick = many.resident <= most, many.seconds < 2.0
    memory = f"{many.resident / MEGABYTE:,.0f} MB of {most / MEGABYTE:,.0f}"
    return [
        Target("start until 15 models are ready", "< 2 s", f"{many.seconds:.2f} s", is_quick if is_full else None),
        Target("memory of one worker", "≤ 250 MB and 1.5 × the models", memory, is_small if is_full else None),
    ]


def target_table(results: Results) -> Table:
    words = {True: "met", False: "NOT met", None: "–"}
    rows = [[one.what, one.wanted, one.found, words[one.is_met]] for one in targets(results)]
    return Table("Targets", ["what", "target", "measured", ""], rows)


def tables(results: Results) -> list[Table]:
    made = [
        target_table(results),
        throughput(results),
        closed_latency(results),
        open_latency(results),
        sizes(results),
        own_bodies(results),
        log_check(results),
        others(results),
    ]
    return [table for table in made if table.rows]


def as_text(results: Results) -> str:
    about = [f"{name}: {value}" for name, value in results.about]
    return "\n\n".join(["\n".join(about), *(table.as_text() for table in tables(results))])


OPENING = """# Serving speed

`make bench-serving` wrote this page. It runs Homeostat and other servers one after the other on the same machine, with
the same model (a random forest of 100 trees on 30 features) and the same row, server and client on a core of their own.
Homeostat runs with its defaults, as one process, and routes, profiles and logs every row so that it survives the death
of the process; after each run the log is read and compared with the replies. No other server here keeps what it
answered.

Each figure is the median of the rounds. Trust the ratios more than the numbers: they come from one run."""


def as_page(results: Results) -> str:
    """The page of the documentation."""
    about = Table("", ["what", "which"], [list(pair) for pair in results.about]).as_markdown().removeprefix("## \n\n")
    return "\n\n".join([OPENING, about, *(table.as_markdown() for table in tables(results)), HOW]) + "\n"


HOW = """## How it is measured

- Closed loop: [wrk](https://github.com/wg/wrk), one thread, one request again and again over open connections.
- Open loop: `benchmarks/serving/open_loop.py`, at a constant rate over 64 connections. A request's time counts from the
  moment when it was due, so that a server that stands still can't hide what it kept waiting.
- Before a server is measured, its answer is compared with scikit-learn's. Then it warms up for a second.
- Each peer is installed in an environment of its own, from `benchmarks/serving/requirements/PEER.txt`. One process or
  worker each; MLServer without its pool of processes, which takes turns with itself on one core. The two FastAPI
  servers and the constant write no access log; the other servers log as they do by default, to a file.
- "uvicorn, a constant" is the ceiling: the ASGI server that Homeostat runs on, in the same environment, which reads the
  request and does nothing.
- Memory is read from `/proc/PID/smaps_rollup` of the process and all below it.

`make bench-serving BENCH="--quick --only mlserver,fastapi-onnx"` takes two seconds for each
measurement, of chosen peers."""
