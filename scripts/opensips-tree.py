#!/usr/bin/env python3
"""Writes the list of files of an OpenSIPS release, which `rcsops install` checks sources with.

    scripts/opensips-tree.py DIRECTORY VERSION

DIRECTORY is what an archive of the tag unpacks to, with nothing else in it. Prints the tree id,
which goes into rcsops/opensips/releases.py with the release.
"""

import gzip
import sys
from pathlib import Path

from rcsops.opensips.tree import entries_of, files_below, format_manifest, tree_id

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    directory, version = sys.argv[1:]
    entries = entries_of(Path(directory), files_below(Path(directory)))
    packed = gzip.compress(format_manifest(entries), mtime=0)
    (ROOT / "rcsops/opensips/trees" / f"{version}.txt.gz").write_bytes(packed)
    print(version, tree_id(entries))


main()
