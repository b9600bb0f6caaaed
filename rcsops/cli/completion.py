"""``rcsops completion``."""

import os

import click

from rcsops.errors import UsageError

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print the completion script for a shell (yours, unless named).

    \b
    bash: rcsops completion bash > ~/.local/share/bash-completion/completions/rcsops
    zsh:  rcsops completion zsh > a directory of $fpath, as _rcsops
    fish: rcsops completion fish > ~/.config/fish/completions/rcsops.fish
    """
    from click.shell_completion import get_completion_class

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    script = get_completion_class(name) if name in _SHELLS else None
    if script is None:
        raise UsageError("which shell?", hint=f"type: rcsops completion {' | '.join(_SHELLS)}")
    click.echo(script(ctx.find_root().command, {}, "rcsops", "_RCSOPS_COMPLETE").source())
