"""Whether what was built is what was wanted, before it takes the place of what is there."""

import tempfile
from dataclasses import replace
from pathlib import Path

from rcsops.errors import EngineError, SettingsError
from rcsops.opensips.config import MAIN, ConfigModel, Secrets, render
from rcsops.opensips.config.check import check
from rcsops.opensips.installed import Installation
from rcsops.opensips.stage import check_modules_load
from rcsops.operations.config import config_model
from rcsops.operations.install_plan import Plan
from rcsops.settings import Project


def check_staged(project: Project, plan: Plan, installation: Installation) -> tuple[str, ...]:
    """Raises `EngineError` unless what was built is the release that was wanted, has and loads
    every module, and takes the configuration that rcsops renders for it.

    Returns what a person should know all the same."""
    if installation.version != plan.release.version:
        raise EngineError(
            f"what was built says that it is OpenSIPS {installation.version}, "
            f"not {plan.release.version}"
        )
    lacking = [name for name in plan.building if name not in installation.modules]
    if lacking:
        raise EngineError(
            f"make did not install the modules {', '.join(lacking)}",
            hint=f"see the log: {plan.log}",
        )
    lonely = check_modules_load(installation)
    with tempfile.TemporaryDirectory(prefix="rcsops-") as directory:
        _check_rendered(_model(project, installation, directory), installation, Path(directory))
    if lonely:
        return (f"{', '.join(lonely)} cannot be loaded without modules that were not built",)
    return ()


def _check_rendered(model: ConfigModel, installation: Installation, directory: Path) -> None:
    secrets = Secrets("mysql://nobody:none@localhost/none", "0" * 32, "0" * 32, "0" * 32)
    for name, text in render(model, secrets).files.items():
        (directory / name).write_text(text, encoding="utf-8")
    for problem in check(installation, directory / MAIN):
        if not problem.warning:
            block = f" in the block {problem.concern!r}" if problem.concern else ""
            raise EngineError(
                f"the OpenSIPS that was built does not take its configuration: {problem.text}, "
                f"line {problem.line}{block}: {problem.source_line.strip()}",
                hint="nothing was installed; see `rcsops config render`, or build it again "
                "with --force",
            )


def _model(project: Project, installation: Installation, directory: str) -> ConfigModel:
    """The configuration of this project, in a directory of its own."""
    try:
        model = config_model(project, installation, installation.version)
    except SettingsError:
        # An address or a certificate that is not there yet is no fault of what was built.
        model = ConfigModel(
            line=installation.line,
            modules_dir=str(installation.modules_dir),
            modules=frozenset(installation.modules),
        )
    drivers = (model.driver, "db_mysql", "db_sqlite")
    driver = next((name for name in drivers if name in installation.modules), model.driver)
    return replace(model, config_dir=directory, run_dir=directory, driver=driver)
