"""`homeostat drift REF CUR`: compares two tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homeostat.cli.context import JsonOption
from homeostat.cli.output import FOUND, check_report, console, print_json, table, write_report


def drift(
    reference: Annotated[Path, typer.Argument(help="The table to compare with: CSV or Parquet.", show_default=False)],
    current: Annotated[Path, typer.Argument(help="The table to look at.", show_default=False)],
    preset: Annotated[str, typer.Option("--preset", help="calibrated or classic.")] = "calibrated",
    method: Annotated[
        list[str] | None, typer.Option("--method", help="A further measure, such as wasserstein; may be repeated.")
    ] = None,
    together: Annotated[
        list[str] | None,
        typer.Option("--together", help="A test of all features at once, such as domain_classifier; may be repeated."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with the distributions of both tables here.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare two tables feature by feature. Ends with 1 where the current one drifted."""
    from homeostat.analysis.compare import compare
    from homeostat.connectors.tables import read_table
    from homeostat.errors import InvalidSettings
    from homeostat.records import PRESETS

    if preset not in PRESETS:
        raise InvalidSettings(f"There is no preset '{preset}'. Known: {', '.join(PRESETS)}.")
    check_report(report)
    found = compare(
        read_table(reference), read_table(current), preset=preset, methods=method or (), together=together or ()
    )
    write_report(found.save_html, report)
    if json:
        print_json(found.to_dict())
    else:
        out = console()
        out.print(found.words, markup=False, style="bold")
        rows = [[one.name, one.severity, f"{one.effect:.3f}", one.words] for one in found.ranked()]
        out.print(table("", ["feature", "severity", "effect", "what changed"], rows))
        for result in found.together.values():
            out.print(result.sentence, markup=False)
        if found.added:
            out.print(f"Only in the current table: {', '.join(found.added)}.", markup=False)
        out.print(found.advice, markup=False)
        if report is not None:
            out.print(f"The report is in {report}.", markup=False)
    if found.drifted:
        raise typer.Exit(FOUND)
