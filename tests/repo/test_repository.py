"""The repository as a whole: what must be there, what must never be, and pins that agree with the ranges."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

MUST_BE = """
    .ci/run .env.example .gitignore .pre-commit-config.yaml
    CHANGELOG.md CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md
    benchmarks/README.md cassettes/README.md examples/README.md docs/README.md docs/explanation/deviations.md
    pyproject.toml
    requirements/demo.txt requirements/dev.txt src/apikeyrouter/py.typed tests/conftest.py
"""
REGISTRIES = (
    "pypi." + "org",
    "pythonhosted." + "org",
    "npmjs." + "org",
    "npmjs." + "com",
    "debian." + "org",
    "crates." + "io",
)
HOMES = re.compile(r"(?<![\w.~-])/(?:root|work|Users|home/\w+)/")
VARIABLE = re.compile(r"""["'](APIKEYROUTER_[A-Z_]+)["']""")


def tracked() -> list[Path]:
    """The files git knows, or is about to: neither ignored nor deleted."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for each in listed.stdout.decode().split("\0") if each and (path := ROOT / each).is_file()]


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def offenders(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in paths
        for number, line in enumerate(text(path).splitlines(), 1)
        if pattern.search(line)
    ]


def pins(lock: Path) -> list[Requirement]:
    return [Requirement(line) for line in text(lock).splitlines() if line.strip()]


def pinned(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    return Version(specifier.version)


def declared() -> list[Requirement]:
    """Every range of pyproject.toml: core, extras, groups."""
    project = PROJECT["project"]
    groups = [each for group in PROJECT["dependency-groups"].values() for each in group if isinstance(each, str)]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    return [Requirement(each) for each in [*project["dependencies"], *extras, *groups]]


def test_what_a_newcomer_looks_for_is_there() -> None:
    assert not [path for path in MUST_BE.split() if not (ROOT / path).is_file()]


def test_no_path_of_a_developers_machine() -> None:
    assert not offenders(HOMES, [path for path in tracked() if path != Path(__file__)])


def test_no_registry_is_named() -> None:
    assert not offenders(re.compile("|".join(map(re.escape, REGISTRIES))), tracked())


def test_no_file_is_larger_than_a_reader_expects() -> None:
    assert not [path for path in tracked() if path.stat().st_size > 2_000_000]


def test_package_data_is_tracked() -> None:
    data = [path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}]
    assert not set(data) - set(tracked())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_is_plain_pins(lock: Path) -> None:
    shape = re.compile(r"^[a-z0-9-]+==[\w.!+-]+( ; [\w .<>='\"()!]+)?$")
    assert not [line for line in text(lock).splitlines() if not shape.match(line)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_keeps_to_the_ranges(lock: Path) -> None:
    locked = {canonicalize_name(pin.name): pinned(pin) for pin in pins(lock)}
    core = [canonicalize_name(Requirement(each).name) for each in PROJECT["project"]["dependencies"]]
    assert set(core) <= locked.keys()
    assert not [
        f"{wanted}, pinned {locked[canonicalize_name(wanted.name)]}"
        for wanted in declared()
        if (version := locked.get(canonicalize_name(wanted.name))) and not wanted.specifier.contains(version)
    ]


def test_the_development_lock_has_all_that_the_group_asks_for() -> None:
    locked = {canonicalize_name(pin.name) for pin in pins(ROOT / "requirements" / "dev.txt")}
    groups = PROJECT["dependency-groups"]
    wanted = {
        canonicalize_name(Requirement(each).name)
        for group in ("build", "lint", "runner", "test", "bench", "docs")
        for each in groups[group]
        if isinstance(each, str)
    }
    assert not wanted - locked


def test_withdrawn_releases_of_litellm_stay_out() -> None:
    (wanted,) = (Requirement(each) for each in PROJECT["project"]["optional-dependencies"]["litellm"])
    assert not [version for version in ("1.82.7", "1.82.8", "1.107.0", "1.107.4") if wanted.specifier.contains(version)]
    assert wanted.specifier.contains("1.106.2")


def test_all_means_every_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (every,) = (Requirement(each) for each in extras["all"])
    assert every.extras == extras.keys() - {"all"}


def test_every_variable_that_is_read_is_shown() -> None:
    shown = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", text(ROOT / ".env.example"), re.MULTILINE))
    read = {found for path in (ROOT / "src").rglob("*.py") for found in VARIABLE.findall(text(path))}
    assert not {each for each in read - shown if not each.endswith("_")}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_workflows_run_what_developers_run(workflow: Path) -> None:
    jobs = yaml.safe_load(text(workflow))["jobs"]
    targets = set(re.findall(r"^([a-z][a-z-]*):", text(ROOT / "Makefile"), re.MULTILINE))
    run = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    named = {target for line in run for target in re.findall(r"\bmake ([a-z-]+)", line)}
    assert named
    assert named <= targets


def test_every_make_target_is_told_by_help() -> None:
    makefile = text(ROOT / "Makefile")
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def test_tests_are_not_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
