"""Models that MLflow keeps: the one file inside that can be read without running code.

The layout of a model's folder, with its `MLmodel` file, is described at https://mlflow.org/docs/latest/ml/model/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeostat.errors import InvalidInput, MissingDependency

DESCRIPTION = "MLmodel"
ADDRESSES = ("models:/", "runs:/")
PICKLES = (".pkl", ".joblib", ".cloudpickle")
# In this order, because a flavour of the library itself tells more than scikit-learn's.
FLAVOURS = {"onnx": "data", "xgboost": "data", "lightgbm": "data", "sklearn": "pickled_model"}


def is_address(source: str) -> bool:
    """Whether a source names a model in an MLflow registry or run, such as `models:/churn/3`."""
    return source.startswith(ADDRESSES)


def fetched(source: str, folder: Path) -> Path:
    """The folder of a model that an MLflow server or store keeps, copied below `folder`.

    Which server it is MLflow's own environment says (`MLFLOW_TRACKING_URI`). Raises `MissingDependency`, or
    `InvalidInput` where there is no such model.
    """
    try:
        from mlflow.artifacts import download_artifacts
    except ImportError as error:
        raise MissingDependency(package="homeostat[mlflow]") from error
    try:
        return Path(download_artifacts(artifact_uri=source, dst_path=str(folder)))
    except Exception as error:
        raise InvalidInput(f"MLflow can't give {source}: {type(error).__name__}.") from error


def model_file(folder: Path, *, allow_pickle: bool) -> Path:
    """The file inside an MLflow model's folder that the model can be read from.

    Raises `InvalidInput` where no flavour of the model is one of those known here, or only a pickle is there and none
    is allowed.
    """
    description = folder / DESCRIPTION
    if not description.is_file():
        raise InvalidInput(f"{folder} is no MLflow model: it has no file {DESCRIPTION}.")
    flavours = _flavours(description)
    pickled = None
    for flavour, key in FLAVOURS.items():
        about = flavours.get(flavour)
        if not isinstance(about, dict) or not isinstance(about.get(key), str):
            continue
        path = _inside(folder, about[key])
        if path.suffix in PICKLES:
            pickled = pickled or path
            continue
        return path
    if pickled is None:
        raise InvalidInput(
            f"The MLflow model has the flavours {', '.join(sorted(map(str, flavours)))}; only "
            f"{', '.join(FLAVOURS)} can be read."
        )
    if not allow_pickle:
        raise InvalidInput(
            "The MLflow model is a pickle, which can run any code when it is loaded. Log it with "
            "serialization_format='skops', or pass --allow-pickle if it is of your own making."
        )
    return pickled


def _flavours(description: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependency(package="homeostat[mlflow]") from error
    try:
        content = yaml.safe_load(description.read_text())
        flavours = content["flavors"]
        return dict(flavours)
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{description} can't be read: {type(error).__name__}.") from error


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; a description that points anywhere else is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise InvalidInput(f"The MLflow model's file '{name}' is not in its folder.")
    return path
