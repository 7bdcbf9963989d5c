"""The house rules, checked: what may be written down, who may import whom, and what is shipped."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "isotrain"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

REGISTRY_HOST = re.compile(r"(pypi|pythonhosted|npmjs|debian|pytorch-index)\.(org|com|net)", re.IGNORECASE)
MACHINE_PATH = re.compile(r"(?<![\w.~])/(home|root|Users|work|opt)/\w")
LONGEST_FILE = 350


def sh(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def tracked_texts() -> dict[str, str]:
    listed = sh("git", "ls-files", "-z")
    if listed.returncode:
        pytest.skip("not a git checkout")
    texts = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            texts[name] = content.decode()
    return texts


@pytest.mark.parametrize("pattern", [REGISTRY_HOST, MACHINE_PATH], ids=["registry-host", "machine-path"])
def test_nothing_of_our_machines_is_written_down(pattern):
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in tracked_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_lock_has_hashes_and_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--index-url" not in lock
    pins = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==", lock, re.MULTILINE)
    blocks = re.split(r"^(?=[\w.-]+(?:\[[\w,-]+\])?==)", lock, flags=re.MULTILINE)[1:]
    assert len(pins) == len(blocks) > 30
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_lock_holds_every_declared_dependency():
    lock = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==", lock, re.MULTILINE))
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = {re.match(r"[\w.-]+", need)[0].lower() for group in groups for need in group} - {"isotrain"}
    assert declared <= locked, f"run `make lock`: {sorted(declared - locked)} are not in requirements.lock"


def test_imports_go_down_only():
    report = sh(Path(sys.executable).with_name("lint-imports"))
    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize("package", ["riemann", "likelihood"])
def test_the_engine_needs_torch_alone(package):
    """Read off the source: an import inside a function counts, one for type checkers alone does not."""
    allowed = sys.stdlib_module_names | {"torch", "isotrain", "__future__"}
    for path in (SOURCE / package).rglob("*.py"):
        tree = ast.parse(path.read_text())
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in set(ast.walk(tree)) - for_types:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            else:
                continue
            foreign = {name.split(".")[0] for name in names} - allowed
            assert not foreign, f"{path.relative_to(ROOT)}:{node.lineno} imports {foreign}"


def test_the_engine_imports_where_only_torch_is_installed():
    program = '''
import sys

HIDDEN = {"rich", "typer", "matplotlib", "sklearn", "scipy", "pytorch_optimizer", "singd", "jaxtyping",
          "beartype", "hypothesis", "pytest"}

class Without:
    """Finds what the finder finds, as if the hidden packages were not installed."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import isotrain.riemann
import isotrain
isotrain.Riemannian
above = {name for name in sys.modules if name.startswith(("isotrain.app", "isotrain.lab", "isotrain.data"))}
assert not above, above
'''
    alone = sh(sys.executable, "-c", program)
    assert alone.returncode == 0, alone.stderr


def test_help_is_quick_because_torch_stays_out():
    asked = sh(
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "import sys; sys.argv = ['isotrain', '--help']; from isotrain.app.cli import main; main()",
    )
    assert asked.returncode == 0, asked.stderr[-2000:]
    assert "audit" in asked.stdout
    assert not re.search(r"\|\s+torch$", asked.stderr, re.MULTILINE), "isotrain --help imported torch"


def test_files_are_short_and_named_after_an_idea():
    for path in SOURCE.rglob("*.py"):
        lines = len(path.read_text().splitlines())
        assert lines <= LONGEST_FILE, f"{path.relative_to(ROOT)} has {lines} lines: two ideas? give each its file"
        assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "_misc", "common"}, path


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_quotes_its_examples():
    examples = [path.read_text() for path in (ROOT / "examples").rglob("*.py")]
    for block in python_blocks(ROOT / "README.md"):
        assert any(block in example for example in examples), f"in no file of examples/:\n{block}"


def test_the_wheel_builds_offline_and_is_typed(tmp_path):
    built = sh(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("isotrain-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "isotrain/py.typed" in names
    weights = {path.relative_to(SOURCE) for path in (SOURCE / "weights").rglob("*") if path.is_file()}
    assert len(weights) >= 8 and weights <= {Path(name).relative_to("isotrain") for name in names if "weights" in name}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"isotrain"}
    shipped = {Path(name).relative_to("isotrain") for name in names if name.endswith(".py")}
    assert shipped == {path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")}
