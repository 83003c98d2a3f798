"""Holds world folders against the public USD validators and prints what each found.

    .venv/bin/python tools/validate_usd.py WORLD ...                          OpenUSD's own and NVIDIA's default rules
    .venv-simready/bin/python tools/validate_usd.py --simready WORLD ...      SimReady profile Package-Candidate

SimReady adds rules to NVIDIA's engine, so it has an environment of its own (tools/test.sh makes it). Exit code 1 if
anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

STAGES = ("world.usda", "world_scene.usda")
PROFILE = "Package-Candidate"


def openusd_errors(path: Path) -> list[str]:
    """Errors of every validator that comes with OpenUSD."""
    from pxr import Usd, UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    stage = Usd.Stage.Open(str(path))
    found = UsdValidation.ValidationContext(validators).Validate(stage)
    return [f"{e.GetName()}: {e.GetMessage()}" for e in found if e.GetType() == UsdValidation.ValidationErrorType.Error]


def nvidia_failures(path: Path) -> list[str]:
    """Failures of NVIDIA's default rules, with the two that are off by default: anchored paths and splat schema."""
    from usd_validation_nvidia import AnchoredAssetPathsChecker, GaussianSplatSchemaChecker, ValidationEngine

    engine: Any = ValidationEngine(init_rules=True)  # its own annotations deny what it returns
    engine.enable_rule(AnchoredAssetPathsChecker)
    engine.enable_rule(GaussianSplatSchemaChecker)
    issues = engine.validate(str(path)).issues()
    return [f"{i.rule.__name__}: {i.message}" for i in issues if i.severity.name in {"FAILURE", "ERROR"}]


def simready_failures(path: Path) -> list[str]:
    """Features of the profile that did not pass."""
    try:
        import simready.validate as simready
    except ImportError:
        sys.exit(
            "error: SimReady is not installed here; run this with .venv-simready/bin/python (tools/test.sh makes it)"
        )

    simready.initialize([], [], [])
    config = simready.AssetValidationConfig(asset_path=str(path.resolve()), profile_id=PROFILE)
    result = simready.validate_asset(config)
    if result is None:
        return [f"the profile {PROFILE} is unknown to this installation"]
    return [f"{name}: {summary}" for name, summary in result.features_summary.items() if not summary["passed"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("worlds", nargs="+", type=Path, metavar="WORLD")
    parser.add_argument("--simready", action="store_true", help=f"check the SimReady profile {PROFILE} instead")
    args = parser.parse_args()
    for world in args.worlds:
        if not (world / STAGES[0]).is_file():
            parser.error(f"there is no {STAGES[0]} in {world}; give a folder that `lyra-worldgen generate` has made")
    checks = (
        {"simready": simready_failures} if args.simready else {"openusd": openusd_errors, "nvidia": nvidia_failures}
    )
    # A package is its interface layer; the scene layer is for opening by hand.
    stages = STAGES[:1] if args.simready else STAGES
    result: dict[str, list[str]] = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        for world in args.worlds:
            for stage in stages:
                for name, check in checks.items():
                    result[f"{world / stage} {name}"] = check(world / stage)
    print(json.dumps(result, indent=2))
    return 1 if any(result.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
