"""`homeostat drift REF CUR`: compares two tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homeostat.cli.context import JsonOption
from homeostat.cli.output import FOUND, console, print_json, table


def drift(
    reference: Annotated[Path, typer.Argument(help="The table to compare with: CSV or Parquet.", show_default=False)],
    current: Annotated[Path, typer.Argument(help="The table to look at.", show_default=False)],
    preset: Annotated[str, typer.Option("--preset", help="calibrated or classic.")] = "calibrated",
    json: JsonOption = False,
) -> None:
    """Compare two tables feature by feature. Ends with 1 where the current one drifted."""
    from homeostat.connectors.tables import read_table
    from homeostat.errors import InvalidData, InvalidSettings
    from homeostat.frames import infer_kinds, to_columns
    from homeostat.records import PRESETS
    from homeostat.stats.drift.comparison import compare_profiles
    from homeostat.stats.profile import Profile

    if preset not in PRESETS:
        raise InvalidSettings(f"There is no preset '{preset}'. Known: {', '.join(PRESETS)}.")
    before, after = read_table(reference), read_table(current)
    kinds = {name: kind for name, kind in infer_kinds(before).items() if name in after.column_names}
    if not kinds:
        raise InvalidData(f"{reference} and {current} have no column in common.")
    numbers = [name for name, kind in kinds.items() if kind.is_number]
    old = Profile.of(to_columns(before, kinds), numeric=numbers)
    found = compare_profiles(old, Profile.of(to_columns(after, kinds), like=old), preset=preset)
    ranked = sorted(found.features.values(), key=lambda one: -one.effect)
    if json:
        print_json(
            {
                "drifted": found.drifted,
                "verdict": found.verdict,
                "severity": found.severity,
                "rows": {"reference": found.reference_rows, "current": found.rows},
                "features": {
                    one.name: {
                        "drifted": one.drifted,
                        "severity": one.severity,
                        "effect": one.effect,
                        "ks": one.ks,
                        "ks_p": one.ks_p,
                        "psi": one.psi,
                        "js": one.js,
                        "chi_square": one.chi2,
                        "chi_square_p": one.chi2_p,
                        "words": one.words,
                    }
                    for one in ranked
                },
            }
        )
    else:
        out = console()
        out.print(found.words, markup=False, style="bold")
        rows = [[one.name, one.severity, f"{one.effect:.3f}", one.words] for one in ranked]
        out.print(table("", ["feature", "severity", "effect", "what changed"], rows))
    if found.drifted:
        raise typer.Exit(FOUND)
