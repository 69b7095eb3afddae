"""A/A: two versions of the same quality, looked at after every observation."""

from __future__ import annotations

from concurrent.futures import Executor

from benchmarks.releases.runs import Case, run_all, share
from benchmarks.releases.world import FixedSample, Truth
from benchmarks.statistics.section import Section, Table

from homeostat.records import Policy

OBSERVATIONS = 20_000
DATA = {
    "errors overlap by half": Truth(),
    "errors independent": Truth(overlap=0.0),
    "overlap by half; 0.5 % of rows fail, 2.5 % are slow": Truth(failing=0.005, slow=0.025),
}


def cases() -> dict[str, Case]:
    """Each kind of data by the default steps, one by a promotion by hand; then the same with a fixed-sample test."""
    found = {f"default, {data}": Case(truth, Policy(), observations=OBSERVATIONS) for data, truth in DATA.items()}
    first = next(iter(DATA))
    found[f"100 % at once, {first}"] = Case(DATA[first], Policy(), by_hand=True, observations=OBSERVATIONS)
    return found


def with_fixed_sample(case: Case) -> Case:
    return Case(case.truth, case.policy, case.traffic, FixedSample(), case.by_hand, case.observations)


def run(pool: Executor | None, *, runs: int) -> Section:
    rollout = Policy().rollout
    ours = cases()
    # Beside the first kind of data only, and by hand: the test errs alike on the others.
    names = [name for number, name in enumerate(ours) if number == 0 or ours[name].by_hand]
    fixed = {name: with_fixed_sample(ours[name]) for name in names}
    found, beside = run_all(ours, runs, pool), run_all(fixed, runs, pool)
    rows = []
    for name, case in ours.items():
        steps, _, data = name.partition(", ")
        for test, outcomes in (("anytime-valid", found[name]), ("McNemar at each look", beside.get(name, []))):
            if not outcomes:
                continue
            # By hand it is promoted whatever the evidence says.
            promoted = "by hand" if case.by_hand else share(one.promoted is not None for one in outcomes)
            rows.append([steps, data, test, promoted, share(one.is_taken_back for one in outcomes)])
    return Section(
        "No difference",
        f"Two versions with an accuracy of 90 % each. The real rollout, on a simulated clock, looks after every one of "
        f"{OBSERVATIONS:,} labelled requests; {runs:,} runs a row. The budget of false promotions is "
        f"{rollout.promotion_error:.0%}, that of false rollbacks {rollout.rollback_error:.0%}. Beside it, the same "
        "controller with McNemar's z-test at the same levels instead of its own evidence. In brackets the exact "
        "(Clopper–Pearson) 95 % interval.",
        [Table(["steps", "data", "test", "false promotion", "false rollback"], rows)],
    )
