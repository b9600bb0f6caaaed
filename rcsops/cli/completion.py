"""``rcsops completion``."""

import os

import click

from rcsops.errors import UsageError

_SHELLS = ("bash", "zsh", "fish")
# Bash breaks words at colons, which stand in the names of MI commands: the pieces are put together
# again, and what is offered loses the part before its last colon, which bash has already.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' words=() current=0 index before='' response type value
    for ((index = 0; index <= COMP_CWORD; index++)); do
        if ((index > 1)) && [[ $before == : || ${COMP_WORDS[index]} == : ]]; then
            words[current]+=${COMP_WORDS[index]}
        else
            current=${#words[@]}
            words+=("${COMP_WORDS[index]}")
        fi
        before=${COMP_WORDS[index]}
    done
    local there=${words[current]%%"${words[current]##*:}"}

    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$current %(complete_var)s=bash_complete $1)

    for completion in $response; do
        IFS=',' read type value <<< "$completion"

        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("${value#"$there"}")
        fi
    done

    return 0
}

%(complete_func)s_setup() {
    complete -o nosort -F %(complete_func)s %(prog_name)s
}

%(complete_func)s_setup;
"""


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
    if name == "bash":
        script = type("Bash", (script,), {"source_template": _BASH})
    click.echo(script(ctx.find_root().command, {}, "rcsops", "_RCSOPS_COMPLETE").source())
