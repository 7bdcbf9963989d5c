"""The command line, as transcripts: what is typed, what comes back, on which stream, with which exit code."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isotrain import __version__
from isotrain.app.tables import show_contest
from isotrain.lab.suite import memory
from isotrain.lab.suite.memory_report import Memories
from isotrain.lab.suite.problems import PROBLEMS
from isotrain.lab.suite.standing import Score, Standing

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "audit_my_model.py")


@pytest.fixture
def isotrain(answer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "path", [*sys.path])

    return answer_of


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# -- asking for help --------------------------------------------------------------------------------------------


def test_help_never_imports_torch() -> None:
    asked = (["--help"], ["audit", "--help"], ["compare", "--help"], ["demo", "--help"], ["--version"])
    code = (
        "import sys\nfrom isotrain.app.cli import main\n"
        f"for words in {asked!r}:\n    sys.argv = ['isotrain', *words]\n"
        "    try:\n        main()\n    except SystemExit as stop:\n        assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_help_answers_at_once() -> None:
    before = os.times()
    subprocess.run([sys.executable, "-m", "isotrain", "--help"], capture_output=True, check=True, cwd=ROOT)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    # Of processor time, so that a busy machine does not count; about 0.3 s once Python has its byte code.
    assert spent < 1.5


@pytest.mark.parametrize("command", ["demo", "audit", "compare"])
def test_each_command_shows_an_example(isotrain: Callable[..., Any], command: str) -> None:
    answer = isotrain(command, "--help")
    assert answer.code == 0
    assert f"Example: isotrain {command}" in plain(answer.out)


def test_version(isotrain: Callable[..., Any]) -> None:
    answer = isotrain("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"isotrain {__version__}\n", "")


# -- answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["audit", "compare"])
def test_an_ending_that_says_nothing_is_refused_before_the_work(isotrain: Callable[..., Any], command: str) -> None:
    answer = isotrain(command, f"{EXAMPLE}:build", "--steps", "1000000000", "--out", "found.pdf")
    assert answer.code == 2 and "found.pdf should end in" in answer.err


def test_audit_of_a_users_file(isotrain: Callable[..., Any], tmp_path: Path) -> None:
    answer = isotrain(
        "audit", f"{EXAMPLE}:build", "--optimizers", "sgd,riemannian", "--changes", "sigmoid,unit-scale",
        "--steps", "4", "--out", "a/audit.html", "--out", "audit.json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert "sigmoid" in answer.out
    assert "riemannian: the same curve under all 2 changes" in " ".join(answer.out.split())
    assert (tmp_path / "a" / "audit.html").is_file()
    assert json.loads((tmp_path / "audit.json").read_text())["kind"] == "audit"


@pytest.mark.parametrize("data", ["digits", "file", "function", "folder"])
def test_data_from_anywhere(isotrain: Callable[..., Any], tmp_path: Path, data: str) -> None:
    import numpy as np

    (tmp_path / "m.py").write_text(
        "import torch\n"
        "def build(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))\n"
        "def build(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        "def pairs(): return [(torch.rand(5, 64), torch.arange(5))]\n"
    )
    np.savez(tmp_path / "d.npz", x=np.random.rand(30, 8, 8), y=np.arange(30) % 10)
    write_mnist(tmp_path / "mnist", side=8)
    given = {"digits": "digits", "file": "d.npz", "function": "m.py:pairs", "folder": "mnist"}[data]
    answer = isotrain("audit", "m.py", "--data", given, "--optimizers", "sgd", "--changes", "input-inversion",
                      "--steps", "2", "--batch", "5", "--json")  # fmt: skip
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["facts"]["batch"] == 5


def write_mnist(folder: Path, side: int) -> None:
    import gzip
    import struct

    folder.mkdir()
    for part, n in (("train", 20), ("t10k", 10)):
        pictures = struct.pack(">4I", 0x803, n, side, side) + bytes(i % 256 for i in range(n * side * side))
        labels = struct.pack(">2I", 0x801, n) + bytes(i % 10 for i in range(n))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def test_compare_prints_json_and_nothing_else(isotrain: Callable[..., Any]) -> None:
    answer = isotrain("compare", f"{EXAMPLE}:build", "--optimizers", "sgd,adam@3e-3", "--epochs", "1", "--json")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert answer.err == ""
    assert list(document["rows"]) == ["sgd 0.1", "adam 0.003"]
    assert 0 <= document["rows"]["sgd 0.1"]["accuracy"] <= 1


def test_compare_prints_a_table(isotrain: Callable[..., Any]) -> None:
    answer = isotrain("compare", f"{EXAMPLE}:build", "--optimizers", "sgd", "--steps", "3")
    assert answer.code == 0
    assert "held-out loss" in answer.out
    assert "Lowest train loss: sgd 0.1" in answer.out


def test_demo_writes_its_report(isotrain: Callable[..., Any], tmp_path: Path) -> None:
    answer = isotrain("demo", "--steps", "5", "--out", "here")
    assert answer.code == 0, answer.err
    assert {p.name for p in (tmp_path / "here").iterdir()} == {"report.html", "report.png", "report.json"}
    assert "isotrain: six curves, one line" in " ".join(answer.out.split())


# -- faults of the user's ---------------------------------------------------------------------------------------

FILES = {
    "raises.py": "import torch\n\ndef build():\n    size = 3\n    return torch.nn.Linear(size, undefined)\n",
    "number.py": (
        "import torch\n\ndef build():\n    return 3\n\ndef batches():\n    return [(torch.rand(2, 2), torch.ones(2))]\n"
    ),
    "syntax.py": "def build(:\n    pass\n",
    "fails.py": "import torch\nimport no_such_package\n",
    "nobatches.py": "import torch\ndef build(): return torch.nn.Linear(2, 2)\n",
    "empty.py": "import torch\ndef build(): return torch.nn.Linear(2, 2)\ndef batches(): return []\n",
    "badbatches.py": (
        "import torch\ndef build(): return torch.nn.Linear(2, 2)\n\ndef batches():\n    raise OSError('disk')\n"
    ),
    "noisy.py": (
        "import random, torch\n"
        "class Noise(torch.nn.Module):\n    def forward(self, x):\n        return x * random.random()\n"
        "def build(): return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))\n"
        "def loss(output, y): return (1 + random.random()) * torch.nn.functional.cross_entropy(output, y)\n"
        "build.loss, build.likelihood = loss, 'categorical'\n"
        "def batches(): return [(torch.rand(4, 2), torch.tensor([0, 1, 0, 1]))]\n"
    ),
    "text.txt": "",
    "bad.npz": "not an archive",
    "bad.pt": "not an archive",
}
FAULTS = [
    ("audit absent.py:build", ["absent.py does not exist"]),
    ("audit text.txt:build", ["text.txt is not a Python file"]),
    (f"audit {EXAMPLE}:biuld", ["does not define 'biuld'", "Did you mean 'build'"]),
    ("audit raises.py --data digits", ["build failed at raises.py, line 5", "NameError"]),
    ("audit number.py:build", ["must return an nn.Module", "int"]),
    ("audit syntax.py:build", ["syntax.py, line 1"]),
    ("audit fails.py:build", ["fails.py, line 2", "no_such_package"]),
    ("audit nobatches.py", ["no data", "--data"]),
    ("audit empty.py", ["batches is empty"]),
    ("audit badbatches.py", ["batches failed at badbatches.py, line 5", "OSError: disk"]),
    ("audit noisy.py --optimizers sgd", ["repeated, differs", "chance"]),
    ("audit nobatches.py --data bad.npz", ["bad.npz cannot be read"]),
    ("audit nobatches.py --data bad.pt", ["bad.pt cannot be read"]),
    ("audit nobatches.py --data gone.npz", ["gone.npz does not exist"]),
    ("audit nobatches.py --data digit", ["data 'digit' is not known", "Did you mean 'digits'"]),
    ("audit nobatches.py --data .", ["holds no data that is known"]),
    ("audit nobatches.py --data digits", ["first batch", "64"]),
    (f"audit {EXAMPLE}:build --optimizers adem", ["optimizer 'adem'", "Did you mean 'adam'"]),
    (f"audit {EXAMPLE}:build --changes sigmoyd", ["change of variables 'sigmoyd'", "Did you mean 'sigmoid'"]),
    (f"audit {EXAMPLE}:build --changes input-mixing", ["input-mixing", "Conv2d"]),
    (f"audit {EXAMPLE}:build --steps 0", ["--steps", "1"]),
    (f"audit {EXAMPLE}:build --steps many", ["--steps", "integer"]),
    (f"audit {EXAMPLE}:build --dtype float8", ["--dtype 'float8'"]),
    (f"audit {EXAMPLE}:build --steps 1 --optimizers sgd --out a.pdf", ["a.pdf should end in"]),
    (f"compare {EXAMPLE}:build --steps 3 --epochs 1", ["one of them"]),
    (f"audit {EXAMPLE}:build --seed -1", ["--seed -1 should be 0 to 18,446,744,073,709,551,615"]),
    (f"compare {EXAMPLE}:build --seed 18446744073709551616", ["--seed 18446744073709551616 should be 0 to"]),
    ("demo --seed 18446744073709551616", ["--seed 18446744073709551616 should be 0 to"]),
    ("audit", ["FILE.py:BUILD"]),
    ("audti", ["audti"]),
    ("audit x.py --steep 3", ["--steep"]),
]


@pytest.mark.parametrize(("typed", "words"), FAULTS, ids=[typed.replace(EXAMPLE, "example") for typed, _ in FAULTS])
def test_faults_are_one_line_and_exit_code_2(
    isotrain: Callable[..., Any], tmp_path: Path, typed: str, words: list[str]
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    answer = isotrain(*typed.split())
    assert answer.code == 2
    assert answer.out == ""
    for word in words:
        assert word in answer.err
    assert "Traceback" not in answer.err
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith("isotrain: ")


def test_mnist_without_a_folder(isotrain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)
    answer = isotrain("audit", f"{EXAMPLE}:build", "--data", "mnist")
    assert answer.code == 2
    assert "ISOTRAIN_DATA" in answer.err


def test_a_closed_pipe_is_no_fault() -> None:
    command = f"{sys.executable} -m isotrain audit --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr


def test_the_example_runs_by_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [EXAMPLE, "3"])
    runpy.run_path(EXAMPLE, run_name="__main__")
    assert capsys.readouterr().out.startswith("riemannian: ")


def test_the_contest_is_readable_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    one = Score(0.0, 3, 1.234e-5, 1e-5, 2e-5, 1e-5, 1e-5, 0.1, 0.9, 0.1, 0.9, {}, 1.0, 0, 3)
    show_contest(Standing({name: {"isotrain-start": one} for name in PROBLEMS}, [], {}), [])
    out = capsys.readouterr().out
    assert "…" not in out and out.count("1.2e-05") == len(PROBLEMS) and out.count("isotrain-start") == 2
    assert all(name in out for name in PROBLEMS)


def remembered(*asked: Any, **more: Any) -> Memories:
    outcome = {"steps": 450, "seconds": 12.4, "solved": 1, "seeds": 1, "loss": 0.01}
    rows = [
        {
            "cell": "gru",
            "chrono": True,
            "optimizer": "adam",
            "lengths": {"8": outcome, "16": {**outcome, "steps": None}},
        },
        {"cell": "gru", "chrono": False, "optimizer": "adam", "lengths": {}},
    ]
    told = {"copy": {"title": "symbols of [0, 9]", "goal": "all are right", "baseline": 1.0}}
    return Memories(told, {"copy": rows}, [f"{asked} {more}"], {})


def test_the_memory_suite(isotrain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "remember", remembered)
    words = "compare --suite memory --problems copy,xor --cells gru --lengths 16,8 --optimizers adam@3e-3"
    answer = isotrain(*words.split())
    assert answer.code == 0, answer.err
    out = plain(answer.out)
    assert "copy: symbols of [0, 9]. Solved: all are right." in out
    assert re.search(r"gru chrono, adam +450 steps, 12 s +not solved, 0.01", out)
    asked = (Path("runs/memory"), ["copy", "xor"], ["adam@3e-3"], ["gru"], [16, 8], 1, None, False)
    assert f"{asked} {{'progress': True, 'chrono': None}}" in " ".join(out.split())
    told = isotrain(*words.split(), "--no-chrono", "--seeds", "2", "--results", "kept", "--json")
    assert told.json["kind"] == "memory"
    assert "'chrono': False" in told.json["verdict"][0]
    assert "PosixPath('kept')" in told.json["verdict"][0]
