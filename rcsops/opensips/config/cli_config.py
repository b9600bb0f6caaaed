"""opensips-cli.cfg: what the upstream opensips-cli needs to work on a server of ours."""

from rcsops.opensips.config.render import template

CLI = "opensips-cli.cfg"


def render_cli(
    *,
    run_dir: str = ".rcsops/run",
    state_dir: str = ".rcsops",
    schema_path: str = ".rcsops/opensips/3.0.2/share/opensips",
    domain: str = "rcs.example",
    mi_transport: str = "fifo",
    mi_http: str = "127.0.0.1:8888",
    database_url: str = "",
) -> str:
    """The file; the defaults are those of the one in the repository, which holds no password.

    ``database_url`` is OpenSIPS's own (`opensips_url`); the paths may be relative to where
    opensips-cli is started.
    """
    server, name = _parts(database_url)
    values = {
        "run_dir": run_dir,
        "state_dir": state_dir,
        "schema_path": schema_path,
        "domain": domain,
        "mi_transport": mi_transport,
        "mi_http": mi_http,
        "database_url": server,
        "database_name": name,
        "name": f"{run_dir}/{CLI}" if database_url else CLI,
    }
    # Python's configparser reads it, to which a % means something.
    doubled = {key: value.replace("%", "%%") for key, value in values.items()}
    return template("opensips_cli").render(doubled)


def _parts(url: str) -> tuple[str, str]:
    """The URL of the server, and the name of the database: opensips-cli has them apart."""
    if not url:
        return "", "opensips"
    if url.startswith("sqlite:/"):
        name = url.removeprefix("sqlite:/").replace("//", "/", 1)
        return f"sqlite:///{name}", name
    server, _, name = url.rpartition("/")
    return server, name
