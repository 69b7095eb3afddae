"""Our estimates of performance without labels beside NannyML's, on the data sets that its package carries.

`python benchmarks/label_free_nannyml.py` where NannyML is installed beside Homeostat; else name the Python of an
environment that has it: `--nannyml-python /path/to/bin/python`. That one runs this file with `--export`, which needs
nothing of Homeostat: it writes NannyML's own estimates and the columns they were made of. NannyML's usage statistics
are switched off. The table shows the mean absolute error over the chunks whose labels the package also carries.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

CHUNKS = 10
# A published test of NannyML: CBPE accuracy on synthetic_sample, isotonic, two chunks.
PUBLISHED = {(0, 20_000): 0.9478536003143163, (20_000, 50_000): 0.9245926106862006}
BINARY = {
    "synthetic_sample": ("synthetic_sample", "_gt", "work_home_actual", "y_pred_proba", "y_pred", ("period",)),
    "synthetic_car_loan": ("synthetic_car_loan", "_target", "repaid", "y_pred_proba", "y_pred", ()),
    "california_housing": ("california_housing", "_gt", "clf_target", "y_pred_proba", "y_pred", ()),
    "employment_MA": ("employment_MA", "_target", "employed", "predicted_probability", "prediction", ("year",)),
}
CARDS = ("highstreet_card", "prepaid_card", "upmarket_card")


def export(folder: Path) -> None:
    """Runs where NannyML is: its estimates by chunk, and the columns, one file a set."""
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
    import nannyml  # noqa: PLC0415
    import pandas  # noqa: PLC0415

    warnings.simplefilter("ignore")  # chunks without a predicted class, of which the table's NaN tells
    pandas.set_option("future.infer_string", False)  # noqa: FBT003 (NannyML reshapes texts as numpy does)
    data = Path(nannyml.__file__).parent / "datasets" / "data"

    def read(name: str) -> pandas.DataFrame:
        path = data / f"{name}.csv"
        return pandas.read_csv(path) if path.exists() else pandas.read_parquet(path.with_suffix(".pq"))

    def write(name, estimator, metrics, reference, analysis, truth, scores, predicted, leave_out, codes=None):
        estimator.fit(reference)
        found = estimator.estimate(analysis).filter(period="analysis").to_df()
        left = {"id", "timestamp", truth, predicted, *scores, *leave_out}
        features = [column for column in analysis.columns if column not in left]
        pairs = {"reference": reference, "analysis": analysis}
        tables = {kind: [] for kind in pairs}
        for column in features:
            kinds = {value: at for at, value in enumerate(sorted(reference[column].astype(str).unique()))}
            numeric = pandas.api.types.is_numeric_dtype(reference[column])
            for kind, frame in pairs.items():
                values = frame[column] if numeric else frame[column].astype(str).map(kinds)
                tables[kind].append(values.astype(float).to_numpy())
        arrays = {f"nannyml_{metric}": found[(metric, "value")].to_numpy(dtype=float) for metric in metrics}
        for kind, frame in pairs.items():
            arrays[f"{kind}_features"] = np.column_stack(tables[kind])
            for field, column in (("truth", truth), ("predicted", predicted)):
                values = frame[column] if codes is None else frame[column].map(codes)
                arrays[f"{kind}_{field}"] = values.to_numpy(dtype=float)
            arrays[f"{kind}_scores"] = (
                frame[list(scores)].to_numpy(dtype=float) if scores else np.zeros((len(frame), 0))
            )
        np.savez(folder / f"{name}.npz", **arrays)

    for name, (stem, suffix, truth, score, predicted, leave_out) in BINARY.items():
        reference, analysis = read(f"{stem}_reference"), read(f"{stem}_analysis")
        analysis = analysis.merge(read(f"{stem}_analysis{suffix}"), on="id")
        metrics = ["accuracy", "roc_auc", "f1", "precision", "recall"]
        estimator = nannyml.CBPE(
            y_true=truth,
            y_pred=predicted,
            y_pred_proba=score,
            metrics=metrics,
            problem_type="classification_binary",
            chunk_number=CHUNKS,
        )
        write(name, estimator, metrics, reference, analysis, truth, [score], predicted, leave_out)
    reference, analysis = read("mc_reference"), read("mc_analysis").merge(read("mc_analysis_gt"), on="id")
    columns = {card: f"y_pred_proba_{card}" for card in CARDS}
    metrics = ["accuracy", "roc_auc", "f1"]
    estimator = nannyml.CBPE(
        y_true="y_true",
        y_pred="y_pred",
        y_pred_proba=columns,
        metrics=metrics,
        problem_type="classification_multiclass",
        chunk_number=CHUNKS,
    )
    codes = {card: at for at, card in enumerate(CARDS)}
    write("cards", estimator, metrics, reference, analysis, "y_true", list(columns.values()), "y_pred", (), codes)
    reference = read("regression_synthetic_reference")
    analysis = read("regression_synthetic_analysis")
    analysis["y_true"] = read("regression_synthetic_analysis_targets")["y_true"].to_numpy()
    features = [column for column in reference.columns if column not in {"y_true", "y_pred", "timestamp"}]
    estimator = nannyml.DLE(
        feature_column_names=features, y_true="y_true", y_pred="y_pred", metrics=["mae", "rmse"], chunk_number=CHUNKS
    )
    write("car_price", estimator, ["mae", "rmse"], reference, analysis, "y_true", [], "y_pred", ())


def compare(folder: Path) -> list[tuple[str, str, float, float, float, float]]:
    """Set, metric, NannyML's error, ours from scores alone, ours with features, and how many intervals held."""
    from homeostat.stats.performance import fit_estimator  # noqa: PLC0415
    from homeostat.stats.performance.estimation.chances import fit_chances  # noqa: PLC0415
    from homeostat.stats.performance.estimation.expected import expected_binary  # noqa: PLC0415

    rows = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            data = dict(file)
        width = data["reference_scores"].shape[1]
        task = {0: "regression", 1: "binary"}.get(width, "multiclass")
        names = {"roc_auc": "roc_auc_macro", "f1": "f1_macro"} if task == "multiclass" else {}
        given = {kind: data[f"{kind}_scores"][:, 0] if width == 1 else data[f"{kind}_scores"] for kind in SIDES}
        scores = dict.fromkeys(SIDES) if task == "regression" else given
        truth, predicted = data["reference_truth"], data["reference_predicted"]
        plain = fit_estimator(truth, predicted, task=task, scores=scores["reference"])
        full = fit_estimator(
            truth, predicted, task=task, scores=scores["reference"], features=data["reference_features"]
        )
        metrics = [key.removeprefix("nannyml_") for key in data if key.startswith("nannyml_")]
        found = {metric: ([], [], [], []) for metric in metrics}
        # NannyML's chunks: equally many rows, what is left over comes to the last.
        size = len(data["analysis_truth"]) // CHUNKS
        for chunk in range(CHUNKS):
            stop = size * (chunk + 1) if chunk < CHUNKS - 1 else len(data["analysis_truth"])
            part = slice(size * chunk, stop)
            chosen = data["analysis_predicted"][part]
            score = None if task == "regression" else scores["analysis"][part]
            alone = plain.estimate(chosen, scores=score).metrics
            both = full.estimate(chosen, scores=score, features=data["analysis_features"][part]).metrics
            for metric in metrics:
                name = names.get(metric, metric)
                real = realised(metric, data["analysis_truth"][part], chosen, score)
                for at, value in enumerate(
                    (data[f"nannyml_{metric}"][chunk], alone[name].estimate, both[name].estimate)
                ):
                    found[metric][at].append(abs(value - real))
                low, high = both[name].interval
                found[metric][3].append(np.nan if np.isnan(real) else low <= real <= high)
        rows += [(path.stem, metric, *(float(np.nanmean(values)) for values in found[metric])) for metric in metrics]
        if path.stem == "synthetic_sample":
            # NannyML's figures are of the isotonic fit as it is, without what ours takes off for its optimism.
            raw = fit_chances(given["reference"][:, None], truth[:, None])
            for (start, stop), published in PUBLISHED.items():
                score = given["analysis"][start:stop]
                chances = raw.chances(score[:, None])[:, 0]
                value = expected_binary(chances, data["analysis_predicted"][start:stop], score)["accuracy"].estimate
                print(f"synthetic_sample [{start}:{stop}]: plain CBPE {value:.12f}, published {published:.12f}")
    return rows


SIDES = ("reference", "analysis")


def realised(metric: str, truth: np.ndarray, predicted: np.ndarray, scores: np.ndarray | None) -> float:
    from sklearn import metrics  # noqa: PLC0415

    if metric == "accuracy":
        return float(metrics.accuracy_score(truth, predicted))
    if metric == "mae":
        return float(metrics.mean_absolute_error(truth, predicted))
    if metric == "rmse":
        return float(metrics.root_mean_squared_error(truth, predicted))
    several = len(np.unique(truth)) > 2
    if metric == "roc_auc":
        return float(metrics.roc_auc_score(truth, scores, **({"multi_class": "ovr"} if several else {})))
    average = "macro" if several else "binary"
    score = {"f1": metrics.f1_score, "precision": metrics.precision_score, "recall": metrics.recall_score}[metric]
    return float(score(truth, predicted, average=average, zero_division=np.nan))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nannyml-python", default=sys.executable, help="the Python that has NannyML")
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export:
        export(options.export)
        return
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([options.nannyml_python, __file__, "--export", name], check=True)
        rows = compare(Path(name))
    print("\nMean absolute error over ten chunks; the last column: chunks whose labels lay inside our 95 % interval.\n")
    print("| set | metric | NannyML | ours, scores alone | ours, with features | inside |")
    print("| --- | --- | --- | --- | --- | --- |")
    for where, metric, theirs, alone, both, inside in rows:
        print(f"| {where} | {metric} | {theirs:.5g} | {alone:.5g} | {both:.5g} | {inside:.0%} |")


if __name__ == "__main__":
    main()
