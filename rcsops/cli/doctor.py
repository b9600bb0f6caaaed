"""``rcsops doctor``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, note, print_json, visible

if TYPE_CHECKING:
    from rcsops.operations.doctor import Finding

_MARKS = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}
_PLAIN = {"ok": "ok", "note": "-", "warning": "warning", "problem": "problem"}
_COLOURS = {"ok": "green", "note": "bright_black", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--all", "everything", is_flag=True, help="Show what is well, too.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write FILE.tar.gz for whoever helps you: findings, versions, settings and logs, with "
    "every secret hidden.",
)
@json_option
@click.pass_obj
def doctor(context: Context, everything: bool, bundle: Path | None, as_json: bool) -> None:
    """Look for every known cause of trouble, and say how to mend it.

    Machine, packages, limits, clock, secrets, database, accounts, certificates, configuration,
    server, ports, content server, DNS. The exit code is 1 when something does not work. Nothing is
    changed.
    """
    from rcsops.operations.doctor import examine_at

    project, looking = examine_at(context.directory, context.engine)
    findings: list[Finding] = []
    shown = 0
    for finding in looking:
        findings.append(finding)
        if not as_json and (everything or finding.level != "ok"):
            shown += 1
            _show(finding)
    problems = sum(each.level == "problem" for each in findings)
    warnings = sum(each.level == "warning" for each in findings)
    if as_json:
        print_json({"problems": problems, "warnings": warnings, "findings": findings})
    else:
        looked = f"{len(findings)} things looked at"
        if problems or warnings:
            parts = [_count(problems, "problem"), _count(warnings, "warning")]
            click.echo(f"{looked}: {' and '.join(part for part in parts if part)}")
        else:
            click.echo(f"{looked}: nothing is wrong")
    if bundle is not None:
        from rcsops.operations.doctor.bundle import write_bundle

        names = write_bundle(bundle, project, findings)
        note(f"wrote {bundle}: {', '.join(names)}; look through it before you give it away")
    if problems:
        raise click.exceptions.Exit(1)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""


def _show(finding: "Finding") -> None:
    terminal = sys.stdout.isatty()
    mark = _MARKS[finding.level] if terminal else f"{_PLAIN[finding.level]:<8}"
    head = click.style(mark, fg=_COLOURS[finding.level]) if terminal else mark
    click.echo(f"{head} {finding.subject}: {visible(finding.text)}")
    if finding.mend:
        click.echo(f"{' ' * (2 if terminal else 9)}→ {visible(finding.mend)}")
