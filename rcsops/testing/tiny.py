"""A small stand-in for OpenSIPS's source, which builds in a second: for tests of the installer.

The files are in ``tests/data/opensips-tiny``; `TinySource` copies them and adds modules. To rcsops
it is the release 3.6.99, once `register` has made it known to the process (`python -m
rcsops.testing.tiny ...` is the command ``rcsops`` with that done).
"""

import json
import os
import shutil
import sys
from pathlib import Path

from rcsops.opensips import needs, releases, tree
from rcsops.opensips.needs import Need

VERSION = "3.6.99"
# A module that does not compile, one that needs a header nobody has, one that is slow.
BROKEN, NEEDY, SLOW = "broken", "needy", "slow"
HEADER, PACKAGE = "rcsops_tiny_needy.h", "libneedy-dev"
_SPECIAL = {
    BROKEN: "int broken(void) { return no_such_name; }\n",
    NEEDY: f"#include <{HEADER}>\nint needy(void) {{ return NEEDY; }}\n",
    SLOW: "int slow(void) { return 0; }\n",
}
_FACTS = "RCSOPS_TEST_TINY"


class TinySource:
    """Its files in ``directory``, with the modules that rcsops needs and a few that are special.

    ``environment`` makes the release known to a process of ``python -m rcsops.testing.tiny``.
    """

    def __init__(self, template: Path, directory: Path) -> None:
        self.directory = directory
        self._facts = directory.with_name(f"{directory.name}.json")
        shutil.copytree(template, directory)
        (directory / "modules").mkdir()
        ordinary = {*releases.MINIMAL_MODULES, "db_mysql", "db_sqlite", "dispatcher"}
        for name in sorted(ordinary | {*_SPECIAL}):
            self._add_module(name)
        entries = tree.entries_of(directory, tree.files_below(directory))
        facts = {
            "tree": tree.tree_id(entries),
            "manifest": tree.format_manifest(entries).decode(),
        }
        self._facts.write_text(json.dumps(facts), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to know the release."""
        return {_FACTS: str(self._facts)}

    def _add_module(self, name: str) -> None:
        module = self.directory / "modules" / name
        module.mkdir()
        flavour = f"FLAVOUR = {name.removeprefix('db_')}\n" if name.startswith("db_") else ""
        makefile = f"NAME = {name}.so\n{flavour}include ../../Makefile.modules\n"
        if name == SLOW:
            # As long as its variable says, as a large file would take.
            makefile += "slow.o: wait\n.PHONY: wait\nwait:\n\t@sleep $${TINY_SLOW:-0}\n"
        (module / "Makefile").write_text(makefile, encoding="utf-8")
        text = _SPECIAL.get(name, f"int {name}_load(void) {{ return 0; }}\n")
        (module / f"{name}.c").write_text(text, encoding="utf-8")


def register(facts: Path) -> None:
    """Makes the release known to this process."""
    known = json.loads(facts.read_text(encoding="utf-8"))
    release = releases.Release(
        VERSION, tag=VERSION, tree=known["tree"], archive_tree=known["tree"], state="for tests"
    )
    releases.RELEASES = (*releases.RELEASES, release)
    needs.BUILD_NEEDS[NEEDY] = (Need(PACKAGE, headers=(HEADER,)),)
    packed = tree.manifest

    def manifest(version: str) -> tree.Manifest | None:
        if version == VERSION:
            return tree.parse_manifest(known["manifest"].encode())
        return packed(version)

    tree.manifest = manifest


if __name__ == "__main__":
    register(Path(os.environ[_FACTS]))
    from rcsops.cli.main import main

    main(sys.argv[1:])
