"""The thresholds that drift is judged by; the defaults are those of the field's usual settings and of `calibrated`."""

from __future__ import annotations

from dataclasses import dataclass

Table = tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`significance` and `effect` are those of the calibrated preset, all others of the classic one."""

    ks_medium: float = 0.05
    ks_high: float = 0.01
    ks_critical: float = 0.001
    psi_low: float = 0.1
    psi_medium: float = 0.15
    psi_critical: float = 0.2
    js_medium: float = 0.1
    js_high: float = 0.3
    chi_square_p: float = 0.05
    share: float = 0.3
    mean_shift: float = 0.2
    significance: float = 0.01
    effect: float = 0.1

    @property
    def ks(self) -> Table:
        """Severity by the p-value that is fallen below."""
        return ((self.ks_critical, "critical"), (self.ks_high, "high"), (self.ks_medium, "medium"))

    @property
    def psi(self) -> Table:
        """Severity by the value that is reached."""
        return ((self.psi_critical, "critical"), (self.psi_medium, "medium"), (self.psi_low, "low"))

    @property
    def js(self) -> Table:
        """Severity by the value that is reached."""
        return ((self.js_high, "high"), (self.js_medium, "medium"))

    @property
    def chi_square(self) -> Table:
        """Severity by the p-value that is fallen below."""
        return ((self.chi_square_p, "medium"),)


DEFAULT = Thresholds()
