"""Measures Homeostat beside other servers, prints tables and writes docs/serving-speed.md.

`make bench-serving`, with options as in `make bench-serving BENCH="--quick --only constant,fastapi-onnx"`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving import environments, model, own, report
from benchmarks.serving.closed_loop import find_wrk
from benchmarks.serving.measure import Options, Subject, measure_homeostat, measure_peer, say
from benchmarks.serving.peers import MODEL, PEERS
from benchmarks.serving.servers import Cores, NoAnswer

PAGE = environments.ROOT / "docs" / "serving-speed.md"
OWN = "homeostat"


def machine() -> list[tuple[str, str]]:
    """What the figures depend on."""
    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    busy = os.getloadavg()[0]
    packages = ("uvicorn", "uvloop", "httptools", "scikit-learn", "onnxruntime", "treelite", "numpy")
    return [
        ("date", datetime.now(tz=UTC).strftime("%Y-%m-%d")),
        ("processor", f"{names[0].partition(': ')[2] if names else platform.machine()}, {os.cpu_count()} cores"),
        ("memory", f"{memory:.0f} GB"),
        ("system", f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}"),
        ("load before the run", f"{busy:.2f}" + (" (the machine was not idle)" if busy > 0.5 else "")),
        ("packages beside Homeostat", ", ".join(f"{name} {version(name)}" for name in packages)),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-serving", description=__doc__)
    keys = [OWN, *(peer.key for peer in PEERS)]
    parser.add_argument("--quick", action="store_true", help="one round of 2 s each, 3 models instead of 15")
    parser.add_argument("--only", default=",".join(keys), help=f"peers to measure beside Homeostat: {','.join(keys)}")
    parser.add_argument("--seconds", type=float, help="length of a measurement (5; quick: 2)")
    parser.add_argument("--rounds", type=int, help="how often each server is started and measured (3; quick: 1)")
    parser.add_argument("--connections", default="1,16,64", help="of the closed loop")
    parser.add_argument("--models", type=int, help="models of one process (15; quick: 3); 0 leaves it out")
    parser.add_argument("--page", type=Path, help="where the page goes (docs/serving-speed.md; quick: nowhere)")
    parser.add_argument("--lock", action="store_true", help="lock the newest versions of the peers, and end")
    given = parser.parse_args()
    unknown = set(given.only.split(",")) - set(keys)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
    given.seconds = given.seconds or (2.0 if given.quick else 5.0)
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.models = (3 if given.quick else 15) if given.models is None else given.models
    given.page = given.page or (None if given.quick else PAGE)
    return given


def run(given: argparse.Namespace, folder: Path) -> report.Results:
    """Everything that was asked for."""
    about = machine()
    files = folder / "files"
    files.mkdir()
    right = model.write_files(files)
    connections = tuple(sorted({int(text) for text in given.connections.split(",")}))
    cores = Cores.found()
    if cores.server is None:
        say("There is one core, or no taskset: server and client share what there is.")
    options = Options(given.seconds, given.rounds, connections, cores, folder)
    about.append(("length", f"{given.rounds} round(s), {given.seconds:g} s a measurement"))
    chosen = given.only.split(",")
    peers = [peer for peer in PEERS if peer.key in chosen]
    bodies = {
        body.key: Subject(body.key, "Homeostat" if body.key == "plain" else body.title, rows=body.ask.rows)
        for body in own.bodies()
    }
    subjects = {peer.key: Subject(peer.key, peer.title) for peer in peers}
    for subject in bodies.values():
        subject.version = version("homeostat")
    fresh = folder / "fresh" / "state"
    fresh.parent.mkdir()
    if OWN in chosen:
        own.put_in_production(fresh, files, MODEL)
    for number in range(1, given.rounds + 1):
        say(f"Round {number} of {given.rounds}")
        if OWN in chosen:
            measure_homeostat(fresh, right, options, bodies, number)
        for peer in peers:
            if not subjects[peer.key].problem:
                measure_peer(peer, files, right, options, subjects[peer.key], number)
    results = report.Results(list(bodies.values()), list(subjects.values()), about=about)
    results.import_seconds = own.import_seconds()
    if given.models and OWN in chosen:
        try:
            results.many = own.with_many_models(folder, given.models, cores.server)
        except NoAnswer as error:
            say(f"Many models: {error}")
    return results


def main() -> None:
    given = arguments()
    if given.lock:
        environments.lock()
        return
    find_wrk()
    with tempfile.TemporaryDirectory(prefix="homeostat-bench-") as folder:
        results = run(given, Path(folder))
    print(report.as_text(results))
    if given.page is not None:
        given.page.write_text(report.as_page(results), encoding="utf-8")
        say(f"Written to {given.page}.")
    lost = [one for subject in results.own for one in subject.logged if not one.is_right]
    if lost:
        sys.exit("Replies and log differ.")


if __name__ == "__main__":
    main()
