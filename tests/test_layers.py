"""Every package stands in the contract of layers, so that a new one cannot escape it."""

import pkgutil
import re
import tomllib
from pathlib import Path

import rcsops

ROOT = Path(__file__).resolve().parent.parent
CORES = {"rcsops.sip", "rcsops.sdp", "rcsops.msrp", "rcsops.rcs"}


def contracts() -> dict[str, dict[str, list[str]]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        linter = tomllib.load(file)["tool"]["importlinter"]
    return {contract["type"]: contract for contract in linter["contracts"]}


def test_every_part_of_the_package_has_its_layer() -> None:
    named = {
        name for layer in contracts()["layers"]["layers"] for name in re.findall(r"[\w.]+", layer)
    }
    present = {
        f"rcsops.{module.name}"
        for module in pkgutil.iter_modules(rcsops.__path__)
        if module.name != "__main__"
    }
    assert present <= named


def test_every_core_is_kept_from_input_and_output() -> None:
    assert set(contracts()["forbidden"]["source_modules"]) == CORES
