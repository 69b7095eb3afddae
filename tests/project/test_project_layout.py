from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "homeostat"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MOST_LINES = 450
HEAVY = (
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "pyarrow",
    "starlette",
    "uvicorn",
    "httpx",
    "prometheus_client",
    "jinja2",
    "onnxruntime",
    "treelite",
    "rich",
)
# In pieces, so that this file does not name them either.
HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("registry", "npmjs"),
        ("anaconda", "org"),
        ("proxy", "golang"),
    )
]


def lint_imports(copy: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a copy of the package, in the copy's own folder so that it shadows the installed one."""
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=copy,
        env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(SOURCE, tmp_path / "homeostat", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_are_kept(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_module_that_no_layer_names_is_refused(copy: Path) -> None:
    (copy / "homeostat" / "newcomer.py").write_text('"""Nobody listed it."""\n', encoding="utf-8")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert "newcomer" in result.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [("errors.py", "homeostat.records"), ("healing/rules.py", "homeostat.retraining.rules")],
    ids=["upwards", "between areas"],
)
def test_a_forbidden_import_is_refused(copy: Path, module: str, imported: str) -> None:
    path = copy / "homeostat" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\nimport {imported}\n", encoding="utf-8")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert f"homeostat.{module.removesuffix('.py').replace('/', '.')} -> {imported}" in result.stdout


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_short_and_are_named_after_what_they_hold(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert not {part.removesuffix(".py") for part in path.relative_to(SOURCE).parts} & {
        "utils",
        "util",
        "helpers",
        "common",
        "misc",
    }


@pytest.mark.parametrize(
    "program",
    [
        "import homeostat",
        "import sys; sys.argv = ['homeostat', '--version']; from homeostat.cli import main; main()",
    ],
    ids=["import homeostat", "homeostat --version"],
)
def test_starting_loads_nothing_heavy(program: str) -> None:
    check = f"import sys; print('loaded:', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", f"{program}\n{check}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1].strip() == "loaded:"


def committed_files() -> list[Path]:
    folders = ("src", "tests", "docs", "requirements", "benchmarks", ".ci")
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in folders:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return found


def test_no_file_names_the_host_of_a_package_registry() -> None:
    # Wherever the packages come from is the business of whoever installs: a mirror, a proxy, a folder.
    files = committed_files()
    assert ROOT / "Makefile" in files
    named = [
        f"{path.relative_to(ROOT)}: {host}" for path in files for host in HOSTS if host.encode() in path.read_bytes()
    ]
    assert named == []


def locked() -> dict[str, tuple[str, int]]:
    """Version and count of hashes of every requirement that is locked."""
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, tuple[str, int]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", line)
        assert match is not None, f"not a locked requirement: {line[:80]}"
        found[canonicalize_name(match[1])] = (match[2], line.count("--hash=sha256:"))
    return found


def test_every_locked_requirement_has_hashes_and_no_address() -> None:
    assert [name for name, (_, hashes) in locked().items() if not hashes] == []
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert not re.search(r"https?:|--(?:extra-)?index-url|--find-links|--trusted-host", text)


def test_the_locked_requirements_cover_the_project() -> None:
    asked = [
        Requirement(text)
        for text in (
            *PROJECT["project"]["dependencies"],
            *PROJECT["dependency-groups"]["dev"],
            *PROJECT["build-system"]["requires"],
        )
    ]
    held = locked()
    lacking = [
        str(one)
        for one in asked
        if canonicalize_name(one.name) not in held or held[canonicalize_name(one.name)][0] not in one.specifier
    ]
    assert lacking == [], "run: make requirements"


def test_make_lists_every_target_and_sets_nothing_up() -> None:
    result = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make ([a-z0-9-]+) ", result.stdout, flags=re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert phony is not None
    assert listed == set(phony[1].split())
    assert {"setup", "demo", "test", "check"} <= listed
    assert "Setting up" not in result.stdout
