"""Whether what was built is what was wanted, before it takes the place of what is there."""

import tempfile
from pathlib import Path

from rcsops.errors import EngineError
from rcsops.opensips.config import MAIN, ConfigModel, Secrets, Tls, driver, render
from rcsops.opensips.installed import Installation
from rcsops.opensips.stage import check_configuration, check_modules_load
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
        secrets = Secrets("mysql://nobody:none@localhost/none", "0" * 32, "0" * 32, "0" * 32)
        rendered = render(_model(project, installation, directory), secrets)
        for name, text in rendered.files.items():
            (Path(directory) / name).write_text(text, encoding="utf-8")
        check_configuration(installation, Path(directory) / MAIN)
    if lonely:
        return (f"{', '.join(lonely)} cannot be loaded without modules that were not built",)
    return ()


def _model(project: Project, installation: Installation, directory: str) -> ConfigModel:
    """The configuration of this project as far as it concerns the build: its transports and
    modules, but no address or certificate that may not be there yet."""
    settings = project.settings
    files = [
        str(project.directory / Path(name).expanduser())
        for name in (settings.tls_certificate, settings.tls_private_key)
        if name
    ]
    tls = Tls(*files) if len(files) == 2 else None
    transports = dict.fromkeys(each.transport for each in settings.listen_addresses)
    listen = tuple(
        f"{transport}:127.0.0.1:{5060 + number}"
        for number, transport in enumerate(transports)
        if tls is not None or transport not in ("tls", "wss")
    )
    drivers = [driver(settings.database_url), "db_mysql", "db_sqlite"]
    return ConfigModel(
        line=installation.line,
        domain=settings.domain,
        listen=listen or ConfigModel().listen,
        config_dir=directory,
        run_dir=directory,
        modules_dir=str(installation.modules_dir),
        modules=frozenset(installation.modules),
        driver=next(name for name in drivers if name in installation.modules),
        digest_algorithms=settings.digest_algorithms,
        mi_http=settings.mi_http if settings.mi_transport == "http" else "",
        tls=tls,
    )
