"""`homeostat experiment plan`: sizes for people and programs, and clear refusals."""

import json

import pytest
import typer
from typer.testing import CliRunner

from homeostat.cli.experiment_plan import plan
from homeostat.errors import InvalidInput
from homeostat.stats.experiments import MetricPlan, Plan, simulate
from homeostat.stats.experiments.planning import experiment_size
from homeostat.stats.inference import sample_size

app = typer.Typer()
app.command("plan")(plan)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_a_plan_for_people_and_for_programs():
    words = run("--baseline", "0.9", "--effect", "0.02", "--daily", "20000")
    assert words.exit_code == 0, words.output
    assert "one look" in words.output
    assert "any moment, at most" in words.output
    found = json.loads(
        run("--baseline", "0.9", "--effect", "0.02", "--daily", "20000", "--alpha", "0.025", "--json").output
    )
    assert found["fixed"]["by_arm"] == [3213, 3213]
    assert found["fixed"]["days"] == pytest.approx(0.3213)
    assert found["fixed"]["units"] < found["longest"]["units"] < 3 * found["fixed"]["units"]
    assert found["expected"]["units"] < found["longest"]["units"]


def test_fixed_sizes_are_those_of_the_one_sided_z_test():
    size = experiment_size(baseline=0.5, effect=0.05, alpha=0.05, power=0.9)
    assert size.fixed.total == pytest.approx(sample_size(baseline=0.5, target=0.55, power=0.9, alpha=0.1).n, rel=0.01)
    means = experiment_size(mean=10, standard_deviation=4, relative=0.1, alpha=0.05)
    assert means.effect == pytest.approx(1.0)
    assert means.fixed.total == pytest.approx(
        sample_size(difference=1.0, standard_deviation=4, alternative="larger").n, rel=0.02
    )
    safe = experiment_size(baseline=0.9, margin=0.02)
    assert safe.goal == "non-inferiority"
    assert safe.fixed.total == pytest.approx(2 * 2 * 0.09 * (1.64485 + 0.84162) ** 2 / 0.02**2, rel=0.001)
    three = experiment_size(baseline=0.9, effect=0.02, arms=3, weights=(0.5, 0.25, 0.25))
    assert three.alpha_each == 0.025
    assert three.fixed.by_arm[0] == pytest.approx(2 * three.fixed.by_arm[1], abs=2)


def test_the_anytime_sizes_are_what_simulated_experiments_take():
    size = experiment_size(baseline=0.6, effect=0.15, power=0.9)
    metric = MetricPlan("right", bounds=(0, 1))
    planned = Plan(("old", "new"), ((0.5, 0.5),), (metric,), minimum_units=0)
    found = simulate(0.6, 0.75, units=size.longest.total, runs=300, plan=planned, metric=metric, seed=4)
    assert found.promoted == pytest.approx(0.9, abs=0.06)
    assert found.mean_units == pytest.approx(size.expected.total, rel=0.12)


def test_a_very_large_effect_needs_a_few_units_and_the_burn_in():
    size = experiment_size(mean=1, standard_deviation=0.5, effect=2)
    assert size.fixed.by_arm == (2, 2)
    assert 100 <= min(size.longest.by_arm) < 120


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "either the baseline"),
        (("--baseline", "0.9"), "smallest effect"),
        (("--baseline", "0.9", "--effect", "-0.1"), "above 0"),
        (("--baseline", "0.9", "--effect", "0.2"), "can't change"),
        (("--baseline", "1.5", "--effect", "0.2"), "between 0 and 1"),
        (("--baseline", "0.9", "--margin", "-0.1"), "margin"),
        (("--baseline", "0.9", "--effect", "0.02", "--weights", "0.5,0.6"), "add up to"),
        (("--baseline", "0.9", "--effect", "0.02", "--weights", "a,b"), "commas"),
        (("--baseline", "0.9", "--effect", "0.02", "--arms", "1"), "arms"),
        (("--mean", "3", "--effect", "0.02"), "standard deviation"),
        (("--baseline", "0.9", "--effect", "0.02", "--alpha", "2"), "alpha"),
        (("--baseline", "0.9", "--effect", "0.02", "--relative", "0.1"), "not both"),
        (("--baseline", "0.9", "--effect", "0.0000001"), "larger"),
        (("--baseline", "0.9", "--margin", "2"), "below 1"),
        (("--baseline", "0.5", "--margin", "1.7e308", "--lower-is-better"), "in size"),
        (("--baseline", "1e-9", "--relative", "1e-300"), "in size"),
        (("--mean", "3", "--sd", "1e-300", "--margin", "2"), "in size"),
        (("--mean", "3", "--sd", "2", "--effect", "1e-12"), "larger"),
        (("--baseline", "0.999999", "--margin", "0.00001"), "larger"),
    ],
)
def test_bad_input_is_told(arguments, says):
    # The command group turns this into one line and exit status 2.
    found = run(*arguments)
    assert isinstance(found.exception, InvalidInput)
    assert says in str(found.exception)
