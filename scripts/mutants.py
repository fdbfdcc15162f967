"""Change the pure modules in small ways, and list the changes that no unit test notices.

Each change is a mutant: `<` instead of `<=`, `None` instead of an argument, another number or text. If a mutant
survives, a test is missing or the change makes no difference. mutmut works on a copy of the package and its tests. It
skips properties, other decorated functions, and code outside functions.

python -m scripts.mutants [--module pricing.terms]
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "layers/usage_billing/usage_billing"
COPY = ROOT / ".local/mutants"
MUTMUT = [str(ROOT / ".local/mutmut/bin/python"), "-m", "mutmut"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description="List the mutants that no unit test notices.")
    parser.add_argument("--module", default="", help="only this module or package, such as pricing.terms or kernel")
    module = parser.parse_args().module
    pure = _pure_modules()
    chosen = [each for each in pure if f"{_name(each)}.".startswith(f"usage_billing.{module}.".replace("..", "."))]
    if not chosen:
        print(f"{module} is not a pure module. pyproject.toml lists them under [tool.coverage.report].")
        return 1
    _copy(chosen, [path for path in sorted((ROOT / "tests/unit").glob("test_*.py")) if _tests(path, pure)])
    print(f"  Testing the mutants of {len(chosen)} module{'s' if len(chosen) > 1 else ''} ...", flush=True)
    with (COPY / "mutmut.log").open("w") as log:
        finished = subprocess.run(
            [*MUTMUT, "run"], cwd=COPY, env=_environment(), stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if finished.returncode:
        print(f"mutmut failed. See {log.name}")
        return 1
    statuses = dict(re.findall(r"^ *(\S+): (.+)$", _mutmut("results", "--all", "true"), re.MULTILINE))
    survivors = {mutant: status for mutant, status in statuses.items() if status != "killed"}
    for mutant, status in survivors.items():
        print(f"\n{_function(mutant)} ({status}; {mutant})\n{_change(mutant)}")
    print(f"\n  {len(statuses)} mutants, {len(survivors)} not killed")
    return 0


def _pure_modules() -> list[Path]:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["report"]["include"]
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern) if path.name != "__init__.py")


def _name(path: Path) -> str:
    """Return the import name of a module."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def _tests(path: Path, pure: list[Path]) -> bool:
    """Return True if a test file imports pure modules, and nothing that is not in the copy."""
    names = {_name(each) for each in pure}
    packages = {name.rpartition(".")[0] for name in names}
    imported = set(re.findall(r"^from ([\w.]+) import", path.read_text(), re.MULTILINE))
    return bool(imported & (names | packages)) and not any(
        each.startswith(("bench", "functions", "scripts", "tests.template")) for each in imported
    )


def _copy(chosen: list[Path], tests: list[Path]) -> None:
    """Set up a copy of the package and its tests as a project. mutmut expects packages in the folder `src`."""
    shutil.rmtree(COPY, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, COPY / "src" / PACKAGE.name, ignore=ignore)
    shutil.copytree(ROOT / "tests", COPY / "tests", ignore=ignore)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [str(Path("src") / each.relative_to(PACKAGE.parent)) for each in chosen],
        "also_copy": ["tests"],
        "pytest_add_cli_args_test_selection": [str(each.relative_to(ROOT)) for each in tests],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
    }
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    (COPY / "pyproject.toml").write_text(f"{(ROOT / 'pyproject.toml').read_text()}\n[tool.mutmut]\n{lines}")


def _environment() -> dict[str, str]:
    """Return the environment for mutmut. It runs the tests in its own process, so that process needs their imports."""
    return os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}


def _mutmut(*arguments: str) -> str:
    return subprocess.check_output([*MUTMUT, *arguments], cwd=COPY, env=_environment(), text=True)


def _function(mutant: str) -> str:
    """Return the readable name of a mutant.

    usage_billing.usage.ledger.xǁHeadǁappend__mutmut_1 -> usage_billing.usage.ledger Head.append
    """
    module, _, name = mutant.rpartition("__mutmut_")[0].rpartition(".")
    return f"{module} {name.removeprefix('x').removeprefix('_').removeprefix('ǁ').replace('ǁ', '.')}"


def _change(mutant: str) -> str:
    lines = _mutmut("show", mutant).splitlines()
    return "\n".join(line for line in lines if re.match(r"[-+](?![-+]{2} )", line))


if __name__ == "__main__":
    sys.exit(main())
