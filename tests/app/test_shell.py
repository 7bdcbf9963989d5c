"""What the command line is to a shell: answers to Tab, scripts of completion, pipes that close."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isotrain.app import completing

ISOTRAIN = [sys.executable, "-m", "isotrain"]


def isotrain(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "COLUMNS": "100", **environment}
    return subprocess.run([*ISOTRAIN, *words], capture_output=True, text=True, env=own, timeout=120)


def tab(line: str) -> list[str]:
    """What bash is told about a line whose last word is being typed."""
    place = str(len(line.split(" ")) - 1)
    answer = isotrain(_ISOTRAIN_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=place)
    assert answer.returncode == 0 and answer.stderr == ""
    return answer.stdout.split()


def test_names_that_are_known_without_torch_are_the_real_ones():
    from isotrain.app.data_command import WRITERS
    from isotrain.app.run_data import SPLITS
    from isotrain.tasks import TASKS
    from isotrain.train.optimizers import OPTIMIZERS
    from isotrain.train.rundir import CARD

    assert set(completing.OPTIMIZERS) == set(OPTIMIZERS)
    assert completing.CARD == CARD and completing.tasks("") == list(TASKS)
    assert set(WRITERS) < set(completing.MADE) < set(TASKS) and completing.splits("") == list(SPLITS)


def test_tab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/classify", "runs/caption", "mine"):
        Path(folder).mkdir(parents=True)
        Path(folder, "card.json").write_text("{}")
    Path("runs/nothing").mkdir()
    assert {"train", "evaluate", "predict", "export"} <= set(tab("isotrain "))
    assert tab("isotrain train ca") == ["caption"]
    assert tab("isotrain train classify --optimizer ri") == ["riemannian"]
    assert tab("isotrain compare --optimizers adam,m") == ["adam,momentum", "adam,muon"]
    assert tab("isotrain predict ") == ["mine", "runs/caption", "runs/classify"]
    assert tab("isotrain export runs/cl") == ["runs/classify"]
    assert tab("isotrain evaluate runs/classify more") == []  # files: the shell's own


def test_tab_in_other_shells_and_without_torch():
    program = "import sys; from isotrain.app.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    line = {"_TYPER_COMPLETE_ARGS": "isotrain train ca", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    for shell, told in (("zsh", "_arguments '*: :((\"caption\"))'"), ("fish", "caption")):
        environment = {**os.environ, **line, "_ISOTRAIN_COMPLETE": f"complete_{shell}"}
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert (answer.returncode, answer.stdout.strip(), answer.stderr) == (0, told, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_completion(shell):
    answer = isotrain(_ISOTRAIN_COMPLETE=f"source_{shell}")
    assert answer.returncode == 0 and "_ISOTRAIN_COMPLETE" in answer.stdout
    if shell == "bash":
        assert "-F _isotrain_completion isotrain" in answer.stdout


def test_completion_is_installed_where_a_shell_looks_for_it(tmp_path):
    command = " ".join(ISOTRAIN)
    script = f"{command} --show-completion; {command} --install-completion"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", f"{script}; true"], capture_output=True, text=True, env=environment)
    assert "complete -o default -F _isotrain_completion isotrain" in done.stdout, done.stderr
    written = (tmp_path / ".bash_completions" / "isotrain.sh").read_text()
    assert "_ISOTRAIN_COMPLETE=complete_bash" in written
    assert "isotrain.sh" in (tmp_path / ".bashrc").read_text()
    # And bash itself, which has read it, completes by it.
    program = (
        f'isotrain() {{ {command} "$@"; }}; source {tmp_path}/.bash_completions/isotrain.sh; '
        "COMP_WORDS=(isotrain train det); COMP_CWORD=2; "
        f'env() {{ command env "${{@:1:$#-1}}" {command}; }}; _isotrain_completion isotrain; echo "${{COMPREPLY[@]}}"'
    )
    completed = subprocess.run(["bash", "-c", program], capture_output=True, text=True, env=environment)
    assert completed.stdout.strip() == "detect", completed.stderr


@pytest.mark.parametrize("words", ["--help", "data list", "--version", "train --help"])
def test_a_reader_that_goes_away_is_no_fault(words):
    """`isotrain ... | head -1`, as a shell with pipefail sees it."""
    pipe = f"set -o pipefail; {' '.join(ISOTRAIN)} {words} | true"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_needs_neither_torch_nor_numpy():
    program = (
        "import sys; from isotrain.app.cli import main\nsys.argv = ['isotrain', '--help']\n"
        "try: main()\nfinally: print(sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.strip() == "[]"


def test_help_of_the_commands_of_a_run_says_what_they_take():
    told = isotrain("train", "--help")
    assert told.returncode == 0 and "TASK" in told.stdout
