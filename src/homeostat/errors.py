"""One tree of errors; each has a stable code and carries the data that it speaks of.

Whoever shows an error (CLI, HTTP) maps its code; nothing in here knows of exit statuses or HTTP.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HomeostatError(Exception):
    """The root: what was wrong, with what, and what to do about it.

    >>> error = UnknownModel(model="spam", known=["phishing"])
    >>> error.code
    'unknown_model'
    >>> print(error)
    There is no model 'spam'. Registered: phishing. 'homeostat model list' shows them.
    """

    code: ClassVar[str] = "homeostat_error"
    template: ClassVar[str] = "{message}"

    def __init__(self, message: str | None = None, /, **data: Any) -> None:
        self.data: dict[str, Any] = data
        self.message = message if message is not None else self._describe()
        super().__init__(self.message)

    def _describe(self) -> str:
        shown = {key: _shown(value) for key, value in self.data.items()}
        return self.template.format(**shown)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


# Input that a caller can mend.
class InvalidInput(HomeostatError):
    """Something that the caller passed can't be used; nothing was changed."""

    code = "invalid_input"


class InvalidData(InvalidInput):
    """A table can't be read or used as it is."""

    code = "invalid_data"


class InvalidTarget(InvalidInput):
    """The target column is missing, or can't be learned from."""

    code = "invalid_target"


class InvalidSettings(InvalidInput):
    """A setting or a policy has a value that means nothing."""

    code = "invalid_settings"


class InvalidFeatures(InvalidInput):
    """The rows to score do not fit the version's signature."""

    code = "invalid_features"


class Unanswerable(InvalidInput):
    """A model gives no finite answer for a row, though its features have the right types."""

    code = "unanswerable"


class InvalidTrainer(InvalidInput):
    """A trainer can't be imported or is not callable."""

    code = "invalid_trainer"


class InvalidLabel(InvalidInput):
    """A label can't be kept: it has no value, or names no prediction."""

    code = "invalid_label"


class InvalidPrediction(InvalidInput):
    """What another server answered can't be logged: its class, its value or its score means nothing."""

    code = "invalid_prediction"


class InvalidRequest(InvalidInput):
    """The body or the parameters of a request can't be read as what they should be."""

    code = "invalid_request"


class TooLarge(InvalidInput):
    """A request is larger than the server takes."""

    code = "too_large"


class DestinationRefused(InvalidInput):
    """Something is to be sent to an address that the server does not send to."""

    code = "destination_refused"


class InvalidExperiment(InvalidInput):
    """An experiment, a namespace or a value of a metric can't be that: weights, arms, metrics, margins or ranges."""

    code = "invalid_experiment"


# What a caller may not do.
class Unauthorized(HomeostatError):
    """The request carries no key or token, or one that is wrong, expired or revoked."""

    code = "unauthorized"
    template = (
        "This server asks for an API key or its token: send it as 'Authorization: Bearer KEY', or set HOMEOSTAT_TOKEN."
    )


class Forbidden(HomeostatError):
    """The request comes from a page or under a name that is not trusted, or with a key that lacks a role."""

    code = "forbidden"


class TooManyRequests(HomeostatError):
    """A caller sends more requests than the server takes of one."""

    code = "too_many_requests"


class TooSlow(HomeostatError):
    """A request did not come whole in the time that it has."""

    code = "too_slow"


class MethodNotAllowed(HomeostatError):
    """The address exists, but not for that method."""

    code = "method_not_allowed"


# Names that do not exist.
class NotFound(HomeostatError):
    """The thing that was named does not exist."""

    code = "not_found"


class UnknownPath(NotFound):
    """The server has no such address."""

    code = "unknown_path"
    template = "There is nothing at this address. GET /api/v1/openapi.json lists what there is."


class UnknownModel(NotFound):
    """No model has that name."""

    code = "unknown_model"
    template = "There is no model '{model}'. Registered: {known}. 'homeostat model list' shows them."


class UnknownVersion(NotFound):
    """The model has no such version."""

    code = "unknown_version"
    template = "Model '{model}' has no version {version}. It has: {known}. 'homeostat model list {model}' shows them."


class UnknownRecord(NotFound):
    """No record of that kind has that id."""

    code = "unknown_record"
    template = "There is no {kind} '{key}'."


# States that forbid what was asked.
class Conflict(HomeostatError):
    """The state of things forbids what was asked; nothing was changed."""

    code = "conflict"


class IllegalMove(Conflict):
    """A version may not go from its stage to that one."""

    code = "illegal_move"
    template = "Version {version} of '{model}' is in {source} and can't go to {target}. Legal from {source}: {legal}."


class StaleRevision(Conflict):
    """Somebody else changed the record since it was read; read it again and retry."""

    code = "stale_revision"
    template = "{kind} '{key}' was changed by somebody else since it was read. Read it again and retry."


class NothingToRollBackTo(Conflict):
    """No earlier production version is there to return to."""

    code = "nothing_to_roll_back_to"
    template = (
        "Model '{model}' has no earlier production version to return to. "
        "'homeostat model promote {model} VERSION' puts another one in its place."
    )


class NotServing(Conflict):
    """The model has no production version, so nothing can be served."""

    code = "not_serving"
    template = "Model '{model}' has no production version. 'homeostat model promote {model} VERSION' gives it one."


class PythonNotAllowed(Conflict):
    """A user's Python class is to be run where nobody opted into that."""

    code = "python_not_allowed"
    template = (
        "A model that is a Python class runs its own code, which this process was not allowed to. If you trust it, set "
        "serve.allow_python (HOMEOSTAT_SERVE__ALLOW_PYTHON=true) where it is taken in, promoted or served."
    )


class ServedElsewhere(NotServing):
    """The model is served elsewhere; here it is only watched."""

    code = "served_elsewhere"
    template = (
        "Model '{model}' is served elsewhere and only watched here: nothing of it can be predicted, retrained or "
        "routed. 'homeostat model promote {model} VERSION' says which version is in production there."
    )


class RolloutInProgress(Conflict):
    """A model has at most one rollout at a time."""

    code = "rollout_in_progress"
    template = "Model '{model}' is already rolling out version {candidate} ({rollout}). Wait, or abort that one first."


class CoolingDown(Conflict):
    """A version that was rolled back rests before it is tried again."""

    code = "cooling_down"
    template = (
        "Version {version} of '{model}' was rolled back, and rests until {until}. Then it may be tried again, as a new "
        "attempt; 'homeostat model rollback {model} --to {version}' returns to it at once where it served before."
    )


class NotReplayable(Conflict):
    """A decision that kept too little to be taken again."""

    code = "not_replayable"
    template = (
        "Decision '{decision}' ({kind}) can't be taken again: {reason}. What the rules of rollouts, rollbacks and "
        "experiments decide by themselves can be."
    )


class IllegalTransition(Conflict):
    """What was asked is not possible in the state that something is in."""

    code = "illegal_transition"
    template = "{kind} {key} is {state}: '{move}' is not possible. Possible are: {legal}."


class RangesTaken(Conflict):
    """Buckets of a namespace are asked for that an experiment, or a holdout, has already."""

    code = "ranges_taken"
    template = "Buckets {ranges} of namespace '{namespace}' belong to {owner}. Free are: {free}."


class ExperimentsDisagree(Conflict):
    """Two live experiments can't run beside each other."""

    code = "experiments_disagree"


class VersionInUse(Conflict):
    """A version that is served in an experiment can't be archived."""

    code = "version_in_use"
    template = (
        "Version {version} of '{model}' is an arm of {experiment}, which is {state}. "
        "'homeostat experiment stop {experiment}' or abort ends it first."
    )


class ModelExists(Conflict):
    """A model of that name exists with another task or other features."""

    code = "model_exists"


# Things that broke.
class IntegrityError(HomeostatError):
    """Stored bytes are not the bytes that were hashed."""

    code = "integrity"
    template = (
        "File '{path}' of version {version} of '{model}' is not what was registered "
        "(SHA-256 {expected}, found {found}). Restore it from a backup, or register the version anew."
    )


class CompilationFailed(HomeostatError):
    """A model can't be turned into anything that may be served."""

    code = "compilation_failed"


class PythonModelFailed(CompilationFailed):
    """A user's Python class can't be found, imported, made or used as a model."""

    code = "python_model_failed"


class TrainingFailed(HomeostatError):
    """A trainer raised, or returned something that is no model."""

    code = "training_failed"


class ScoringFailed(HomeostatError):
    """A model raised while scoring, or gave outputs that mean nothing."""

    code = "scoring_failed"


class NotReady(HomeostatError):
    """The server can't answer for every model yet, or is about to stop."""

    code = "not_ready"


class Overloaded(HomeostatError):
    """The server has as much to do as it takes on; the same request may do in a moment."""

    code = "overloaded"


class InternalError(HomeostatError):
    """Something broke that nobody foresaw; the server's log has the details under the request's id."""

    code = "internal_error"
    template = "Something broke in the server. Its log tells what, under request_id {request_id}."


class StorageFailed(HomeostatError):
    """A store can't be written or read."""

    code = "storage_failed"


class ServerUnreachable(HomeostatError):
    """A server can't be reached, or what answers there is not Homeostat."""

    code = "server_unreachable"
    template = "The server at {url} can't be used: {reason}. Is that its address, and does 'homeostat serve' run there?"


class DeliveryFailed(HomeostatError):
    """What was to be sent to an address on the web did not arrive there, or nobody can know."""

    code = "delivery_failed"
    template = "Nothing could be delivered to {to}: {reason}."


class MissingDependency(HomeostatError):
    """An optional library is not installed."""

    code = "missing_dependency"
    template = "This needs '{package}', which is not installed: pip install '{package}'."
