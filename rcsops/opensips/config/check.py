"""Asks the real OpenSIPS what it thinks of a configuration (``opensips -C``).

What it prints is one line for each error, most of them followed by errors that are but the
consequence of the first; its column is where its parser noticed, often behind the mistake.
"""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rcsops.errors import EngineError
from rcsops.opensips.config.problem import Problem, located
from rcsops.opensips.installed import Installation

_SECONDS = 30.0
# "Nov 24 00:34:19 [4674] CRITICAL:core:yyerror: parse error in FILE:71:19-20: text"
_PARSE = re.compile(
    r"parse error in (?P<file>.+):(?P<line>\d+):(?P<from>\d+)-(?P<to>\d+): ?(?P<text>.*)"
)
_WARNING = re.compile(
    r"warning in config file (?P<file>.+), (?:from )?line (?P<line>\d+), "
    r"column (?P<from>\d+)(?:-(?P<to>\d+))?.*?: (?P<text>.*)"
)
_PREFIX = re.compile(
    r"^\w{3} +\d+ [\d:]+ \[\d+\] (?P<level>[A-Z]+):(?:[\w-]+:[\w-]+: )?(?P<text>.*)"
)
_MODULE_LOST = re.compile(r"failed to load module (?P<module>[\w-]+)\.so")
_PARAMETER = re.compile(r"Parameter <(?P<name>[^>]*)> not found in module <(?P<module>[^>]*)>")
_UNLOADED = re.compile(r"no module matching (?P<module>\S+) found")
_MISMATCH = re.compile(
    r"type mismatch for parameter <(?P<name>[^>]*)> in module <(?P<module>[^>]*)>"
)
# From 3.4 on, after what is wrong with the arguments of a function: where that is.
_FUNCTION = re.compile(r"check failed for function (?P<name><[^>]*>), (?P<file>.+):(?P<line>\d+)$")
_NAMED = re.compile(r"<([^>]+)>")
_FOLLOWING = ("unknown command", "bad command")


def check(installation: Installation, path: Path) -> list[Problem]:
    """What ``opensips -C`` says against the configuration at ``path``; empty when it is fine.

    Raises `EngineError` when it cannot be run.
    """
    try:
        done = subprocess.run(  # noqa: S603
            [installation.binary, "-C", "-f", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"{installation.binary} -C cannot be run: {error}") from error
    said = (done.stderr + done.stdout).decode("utf-8", "replace")
    problems = parse_complaints(said)
    if done.returncode != 0 and not any(not each.warning for each in problems):
        # It failed in a way that has no place in the file.
        last = [line for line in said.splitlines() if " ERROR:" in line or " CRITICAL:" in line]
        text = _PREFIX.sub(lambda found: found["text"], last[0]) if last else said.strip()[-300:]
        problems.append(Problem(str(path), 0, 0, 0, text or f"exit code {done.returncode}"))
    return [_pointed(located(each)) for each in problems]


def parse_complaints(said: str) -> list[Problem]:
    """What ``opensips -C`` printed, as problems without their source lines.

    One for each line of the file, and none for what merely follows from a module that is missing.
    """
    found: dict[tuple[str, int], Problem] = {}
    lost: set[str] = set()
    mismatched: set[tuple[str, str]] = set()
    unloaded: set[str] = set()
    before = ""
    for line in said.splitlines():
        if mismatch := _MISMATCH.search(line):
            mismatched.add((mismatch["module"], mismatch["name"]))
        if module := _UNLOADED.search(line):
            unloaded.add(module["module"])
        match = _PARSE.search(line)
        if warning := None if match else _WARNING.search(line):
            problem = _problem(warning, warning=True)
            found.setdefault((problem.file, problem.line), problem)
        if function := _FUNCTION.search(line):
            text = f"{function['name']}: {_PREFIX.sub(lambda said: said['text'], before)}"
            problem = Problem(function["file"], int(function["line"]), 0, 0, text)
            found.setdefault((problem.file, problem.line), problem)
        before = line
        if match is None:
            continue
        problem = _problem(match, warning=False)
        if module := _MODULE_LOST.search(problem.text):
            lost.add(module["module"])
        if parameter := _PARAMETER.search(problem.text):
            if parameter["module"] in unloaded:
                if lost:
                    # That, or the misspelt name of this one.
                    continue
                problem = replace(problem, text=f"the module <{parameter['module']}> is not loaded")
            if (parameter["module"], parameter["name"]) in mismatched:
                text = (
                    f"parameter <{parameter['name']}> of {parameter['module']} has the wrong type"
                )
                problem = replace(problem, text=text)
        if lost and problem.text.startswith(_FOLLOWING):
            continue
        key = (problem.file, problem.line)
        earlier = found.get(key)
        if earlier is None or earlier.warning:
            found[key] = problem
        elif problem.text and earlier.text == "syntax error":
            # The second complaint about a line often says more.
            found[key] = replace(earlier, text=f"syntax error: {problem.text}")
    return list(_worded(found.values()))


def _problem(match: "re.Match[str]", *, warning: bool) -> Problem:
    column = int(match["from"])
    end = int(match["to"] or column)
    return Problem(
        match["file"], int(match["line"]), column, end, match["text"].strip(), warning=warning
    )


def _worded(problems: Iterable[Problem]) -> Iterable[Problem]:
    for problem in problems:
        hint = ""
        if module := _MODULE_LOST.search(problem.text):
            hint = f"build it: rcsops install --modules {module['module']}"
        yield replace(problem, text=problem.text or "syntax error", hint=hint)


def _pointed(problem: Problem) -> Problem:
    """Points at the name that the complaint is about, where the line has it."""
    names = _NAMED.findall(problem.text)
    if module := _MODULE_LOST.search(problem.text):
        names = [module["module"], *names]
    for name in names:
        at = problem.source_line.find(name)
        if at >= 0:
            return replace(problem, column=at + 1, end=at + len(name))
    return problem
