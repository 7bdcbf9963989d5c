"""What is shipped: wheel and sdist, what is in them, and that the wheel works in an environment of its own, offline."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "isotrain"


def sh(*command: str | Path, cwd: Path, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV", "VIRTUAL"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**own, **environment},
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def build(folder: Path, out: Path, *targets: str) -> None:
    words = [word for target in targets for word in ("--target", target)]
    sh(sys.executable, "-m", "hatchling", "build", *words, "--directory", out, cwd=folder)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and sdist."""
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out, "sdist", "wheel")
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def contents(wheel: Path) -> dict[str, str]:
    """Name of each file -> a hash of what it holds."""
    with zipfile.ZipFile(wheel) as packed:
        return {name: hashlib.sha256(packed.read(name)).hexdigest() for name in packed.namelist()}


def test_the_wheel_holds_what_the_package_needs_and_nothing_else(shipped):
    wheel, _ = shipped
    names = contents(wheel)
    inside = {Path(name).relative_to("isotrain") for name in names if name.startswith("isotrain/")}
    listed = subprocess.run(["git", "ls-files", "-z", "src/isotrain"], cwd=ROOT, capture_output=True, text=True).stdout
    tracked = {Path(name).relative_to("src/isotrain") for name in listed.split("\0") if name}
    if not tracked:
        pytest.skip("not a git checkout")
    missing = {path for path in tracked if (SOURCE / path).exists()} - inside
    assert not missing, sorted(map(str, missing))
    for path in (
        "page.css",
        "py.typed",
        "serve/page/index.html",
        "serve/page/app.js",
        "weights/faces/model.safetensors",
    ):
        assert Path(path) in inside
    assert {name.split("/")[0].split("-")[0] for name in names} == {"isotrain"}
    assert not [name for name in names if name.endswith((".pyc", ".orig", "~")) or "__pycache__" in name]
    assert sum(path.suffix != ".py" for path in inside) >= 20
    assert wheel.stat().st_size < 40e6


def test_the_sdist_has_tests_docs_and_recipes(shipped):
    _, sdist = shipped
    with tarfile.open(sdist) as packed:
        names = [name.split("/", 1)[1] for name in packed.getnames() if "/" in name]
    tops = {name.split("/")[0] for name in names}
    assert {"src", "tests", "docs", "recipes", "examples", "LICENSE", "README.md", "pyproject.toml"} <= tops
    assert not tops & {"runs", "shared", ".venv", ".tools"}


def test_the_sdist_builds_the_same_wheel(shipped, tmp_path):
    wheel, sdist = shipped
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    build(unpacked, tmp_path / "again", "wheel")
    (again,) = (tmp_path / "again").glob("*.whl")
    assert contents(again) == contents(wheel)


def installing(python: Path) -> list[str | Path]:
    """What installs a wheel from a file for a Python: uv, or the pip of the Python that made this environment."""
    own = ROOT / ".tools" / "uv" / "bin" / "uv"
    uv = shutil.which("uv") or (own if own.exists() else None)
    if uv is not None:
        return [uv, "pip", "install", "--offline", "--no-deps", "--python", python]
    base = getattr(sys, "_base_executable", sys.executable)
    if subprocess.run([base, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("neither uv nor pip is here to install a wheel")
    return [base, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]


def test_the_wheel_works_in_an_environment_of_its_own_with_the_network_cut(shipped, tmp_path):
    wheel, _ = shipped
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    bin_, python = home / "bin", home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    # The dependencies, by their folder: its own .pth files, and so this checkout, are not followed from here.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    sh(*installing(python), wheel, cwd=tmp_path)
    cut = ["unshare", "-rn"] if shutil.which("unshare") else []
    if cut and subprocess.run([*cut, "true"], capture_output=True).returncode:
        cut = []  # this machine lets nobody cut the network
    quiet = {"OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    work = tmp_path / "work"
    work.mkdir()
    where = sh(*cut, python, "-c", "import isotrain; print(isotrain.__file__)", cwd=work, **quiet)
    assert Path(where.strip()).is_relative_to(site)
    from isotrain.version import __version__

    assert sh(*cut, bin_ / "isotrain", "--version", cwd=work, **quiet) == f"isotrain {__version__}\n"
    assert "train" in sh(*cut, bin_ / "isotrain", "--help", cwd=work, **quiet)
    sh(*cut, python, "-m", "isotrain", "demo", "--steps", "20", cwd=work, **quiet)
    assert (work / "runs/demo/report.html").stat().st_size > 10_000
    # What is shipped beside the code is found: weights, the face's mesh, the page and its style.
    program = (
        "from importlib.resources import files; from isotrain.faces.chain import Chain; import isotrain.page; "
        "Chain.of(); assert (files('isotrain') / 'serve/page/index.html').is_file()"
    )
    sh(*cut, python, "-c", program, cwd=work, **quiet)
