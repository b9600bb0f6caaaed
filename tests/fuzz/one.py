"""One oracle under atheris: ``python -m tests.fuzz.one ORACLE LIBFUZZER-ARGUMENTS``.

A process of its own, because atheris has to see every module of rcsops as it is imported, and ends
the process when it has found something.
"""

import sys

import atheris


def main() -> None:
    name = sys.argv.pop(1)
    # Not "RegEx": its stand-in for a pattern cannot match from a position on.
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["rcsops"]):
        from tests.property.oracles import ORACLES
    atheris.Setup(sys.argv, ORACLES[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
