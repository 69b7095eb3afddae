"""Every kind of record that a control store keeps."""

from __future__ import annotations

from homeostat.records.keys import ApiKey
from homeostat.records.nouns import (
    Alert,
    Decision,
    Finding,
    Model,
    Record,
    Route,
    Run,
    StageChange,
    Version,
)
from homeostat.records.processes import GatewayReport, Lease, Progress
from homeostat.records.rollouts import Incident, KeptPolicy, Rollout

TABLES: tuple[type[Record], ...] = (
    Model,
    Version,
    StageChange,
    Route,
    Finding,
    Alert,
    Run,
    Rollout,
    Decision,
    Lease,
    GatewayReport,
    Progress,
    ApiKey,
    Incident,
    KeptPolicy,
)
