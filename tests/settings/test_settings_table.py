"""Where settings come from, which ones are refused, and the defaults that users start from."""

from pathlib import Path

import pytest

from homeostat import settings
from homeostat.errors import InvalidSettings
from homeostat.records import PRESETS

CLASSIC = {
    "drift.ks_critical": 0.001,
    "drift.ks_high": 0.01,
    "drift.ks_medium": 0.05,
    "drift.minimum_rows": 100,
    "drift.psi_low": 0.1,
    "drift.psi_medium": 0.15,
    "drift.psi_critical": 0.2,
    "drift.js_medium": 0.1,
    "drift.js_high": 0.3,
    "drift.chi_square_p": 0.05,
    "drift.share": 0.3,
    "drift.window_rows": 1000,
    "drift.every_seconds": 300.0,
    "prediction.ks_p": 0.05,
    "prediction.mean_shift": 0.2,
    "performance.maximum_drop": 0.02,
    "performance.relative_drop": 0.1,
    "performance.tpr_drop": 0.05,
    "performance.fpr_rise": 0.5,
    "performance.accuracy_floor": 0.9,
    "triggers.alert_count": 3,
    "triggers.drift_share": 0.3,
    "triggers.schedule": "daily",
    "triggers.schedule_hour": 2,
    "data.minimum_rows": 1000,
    "data.maximum_missing": 0.1,
    "data.maximum_duplicates": 0.01,
    "data.minimum_days": 5.0,
    "training.evaluation_share": 0.2,
    "training.algorithms": ("random_forest", "gradient_boosting", "svm", "logistic_regression", "mlp"),
    "training.attempts": 2,
    "training.retry_after": "5m",
    "gate.metric": "roc_auc",
    "gate.minimum_gain": 0.01,
    "rollout.steps": ("canary 10% for 2d", "canary 50% for 3d", "100%", "bake for 2m"),
    "guardrails.accuracy_drop": 0.02,
    "guardrails.fpr_rise": 0.5,
    "guardrails.error_rate": 0.01,
    "guardrails.p95_latency_ms": 500.0,
    "service.error_rate": 0.01,
    "service.p95_latency_ms": 500.0,
    "alerts.keep_days": 30.0,
}


@pytest.mark.parametrize(("name", "value"), CLASSIC.items())
def test_the_classic_defaults(name, value):
    [found] = [setting for setting in settings.table() if setting.name == f"policy.{name}"]
    assert found.classic == value


def test_the_table_lists_every_setting_once_with_help():
    rows = settings.table()
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.help for row in rows)
    assert {row.name: row.default for row in rows if "." not in row.name} == {
        "home": ".homeostat",
        "durability": "process",
        "seed": 0,
        "server": "",
        "token": "",
    }


@pytest.mark.parametrize("row", settings.table(), ids=lambda row: row.name)
def test_every_setting_can_be_given_by_the_environment(row):
    text = ",".join(row.classic) if isinstance(row.classic, tuple) else str(row.classic).lower()
    if row.name in ("home", "policy.training.trainer"):
        text = "Some:where"
    loaded = settings.load(environment={row.environment: text})
    value = loaded
    for name in row.name.split("."):
        value = getattr(value, name)
    assert value == (
        type(row.classic)(text)
        if text == "Some:where" and row.name != "home"
        else Path(text)
        if row.name == "home"
        else row.classic
    )


def write(tmp_path, text):
    path = tmp_path / "homeostat.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_win_over_the_environment_over_the_file(tmp_path):
    path = write(tmp_path, "seed = 1\nhome = 'file'\n[policy.drift]\nshare = 0.1\nwindow_rows = 10\nminimum_rows = 5")
    environment = {
        "HOMEOSTAT_HOME": "env",
        "HOMEOSTAT_POLICY__DRIFT__SHARE": "0.2",
        "HOMEOSTAT_POLICY__DRIFT__WINDOW_ROWS": "20",
        "OTHER": "x",
    }
    loaded = settings.load(path, environment=environment, overrides={"policy.drift.share": 0.3})
    assert (loaded.seed, loaded.home) == (1, Path("env"))
    assert (loaded.policy.drift.share, loaded.policy.drift.window_rows, loaded.policy.drift.minimum_rows) == (
        0.3,
        20,
        5,
    )
    assert loaded.policy.gate == PRESETS["calibrated"].gate


@pytest.mark.parametrize("order", [1, -1])
def test_a_preset_and_a_part_of_it_go_together_in_any_order(tmp_path, order):
    environment = {"HOMEOSTAT_POLICY": "classic", "HOMEOSTAT_POLICY__DRIFT__SHARE": "0.5"}
    loaded = settings.load(environment=dict(list(environment.items())[::order]))
    assert (loaded.policy.preset, loaded.policy.drift.share, loaded.policy.gate.metric) == ("classic", 0.5, "roc_auc")
    loaded = settings.load(write(tmp_path, "policy = 'classic'"), environment={"HOMEOSTAT_POLICY__DRIFT__SHARE": "0.5"})
    assert (loaded.policy.preset, loaded.policy.drift.share) == ("classic", 0.5)


@pytest.mark.parametrize("shared", ["policy = 'classic'", "policy = {preset = 'classic'}"])
def test_a_model_may_have_its_own_policy(tmp_path, shared):
    path = write(tmp_path, f"{shared}\n[models.a.policy.drift]\nshare = 0.9\n[models.b]\npolicy = 'calibrated'")
    loaded = settings.load(path, environment={})
    assert loaded.policy_of("other") == PRESETS["classic"]
    assert loaded.policy_of("a").drift.share == 0.9
    assert loaded.policy_of("a").gate == PRESETS["classic"].gate
    assert loaded.policy_of("b") == PRESETS["calibrated"]


def test_a_model_with_a_preset_keeps_what_is_shared(tmp_path):
    path = write(
        tmp_path, "[policy.drift]\nshare = 0.9\n[models.a.policy]\npreset = 'classic'\ndrift = {window_rows = 7}"
    )
    drift = settings.load(path, environment={}).policy_of("a").drift
    assert (drift.share, drift.window_rows) == (0.9, 7)


BAD = [
    "sead = 1",
    "seed = 'x'",
    "seed = 1.5",
    "home = 5",
    "durability = 'disk'",
    "policy = 'modern'",
    "policy = 3",
    "policy = {preset = ['classic']}",
    "policy = {drifts = {}}",
    "policy = {drift = 1}",
    "policy = {drift = {shar = 1}}",
    "policy = {drift = {share = 'much'}}",
    "policy = {drift = {share = nan}}",
    "policy = {drift = {share = -0.1}}",
    "policy = {drift = {window_rows = 0}}",
    "policy = {drift = {window_rows = 1.5}}",
    "policy = {guardrails = {error_rate = inf}}",
    "policy = {triggers = {drift = 'sometimes'}}",
    "policy = {triggers = {schedule = 'hourly'}}",
    "policy = {triggers = {schedule_hour = 24}}",
    "policy = {triggers = {cooldown = 'soon'}}",
    "policy = {rollout = {steps = ['50%']}}",
    "policy = {rollout = {manual_steps = []}}",
    "policy = {rollout = {rollback_error = 0}}",
    "policy = {rollout = {promotion_error = 1}}",
    "policy = {rollout = {lease = '0s'}}",
    "policy = {guardrails = {accuracy_drop = -0.02}}",
    "models = 1",
    "models = {a = 'classic'}",
    "models = {a = {polcy = 'classic'}}",
    "models = {a = {policy = {x = 1}}}",
    "seed = ",
    "\\xff",
]


@pytest.mark.parametrize("text", BAD)
def test_what_means_nothing_is_refused(tmp_path, text):
    with pytest.raises(InvalidSettings):
        settings.load(write(tmp_path, text), environment={})


@pytest.mark.parametrize(
    "environment",
    [
        {"HOMEOSTAT_SEED": "x"},
        {"HOMEOSTAT_SEAD": "1"},
        {"HOMEOSTAT_POLICY__DRIFT__SHARE__X": "1"},
        {"HOMEOSTAT_POLICY__NO__SHARE": "1"},
        {"HOMEOSTAT_SEED__X": "1"},
    ],
)
def test_what_means_nothing_is_refused_from_the_environment(environment):
    with pytest.raises(InvalidSettings):
        settings.load(environment=environment)


def test_a_named_file_must_exist_and_the_default_one_need_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings.load(environment={}).policy == PRESETS["calibrated"]
    with pytest.raises(InvalidSettings, match=r"nowhere\.toml"):
        settings.load(tmp_path / "nowhere.toml", environment={})
    write(tmp_path, "seed = 7")
    assert settings.load(environment={}).seed == 7


def test_loading_changes_no_preset():
    before = PRESETS["calibrated"].config_hash, PRESETS["classic"].config_hash
    settings.load(environment={"HOMEOSTAT_POLICY__DRIFT__SHARE": "0.9"})
    assert (PRESETS["calibrated"].config_hash, PRESETS["classic"].config_hash) == before
    assert settings.load(environment={"HOMEOSTAT_POLICY__DRIFT__SHARE": "0.9"}).policy.config_hash not in before
