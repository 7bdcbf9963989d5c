"""The tutorials in docs/tutorials, followed: each command is run, and what the text promises is there.

A tutorial is its ```sh blocks, in order, in a folder of its own. A command that ends in a comment with an exit code
(`# exit code 1`) must end so. A ```python block whose first line is the name of a file (`# my_model.py`) is that file.
A promise is a paragraph with the word "leaves": each of its `code spans` with a slash is a file or folder that is there
in the end. A block marked ```text is not run: it starts what does not end by itself.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from pathlib import Path

import pytest

from isotrain.app.cli import main
from isotrain.tasks import TASKS

TUTORIALS = sorted((Path(__file__).parent.parent / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"#.*exit code (\d+)")
SHARED = {"landmarks": "faces", "finder": "faces"}
NEEDS = {
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "--tensorboard": ("tensorboard",),
    "detect": ("faster_coco_eval",),
    "masks": ("faster_coco_eval",),
    "translate": ("sacrebleu", "tokenizers"),
    "faces": ("skimage",),
}


def commands(text: str) -> list[str]:
    """Lines of the blocks, those that end in a backslash joined with the next."""
    lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


def promised(text: str) -> list[str]:
    plain = BLOCK.sub("", text)
    paragraphs = [paragraph for paragraph in plain.split("\n\n") if re.search(r"\bleaves?\b", paragraph)]
    return [span for paragraph in paragraphs for span in re.findall(r"`([^`\s]*/[^`\s]*)`", paragraph)]


def test_every_task_has_a_tutorial():
    there = {path.stem for path in TUTORIALS}
    assert {SHARED.get(task, task) for task in TASKS} <= there


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial(path, tmp_path, monkeypatch, capsys):
    text = path.read_text()
    todo, files = commands(text), promised(text)
    assert len(todo) >= 4 and files, "a tutorial has commands, and leaves something"
    for word, packages in NEEDS.items():
        if any(word in command for command in todo):
            for package in packages:
                pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ISOTRAIN_GALLERY", raising=False)
    if "gallery.db" in text:  # a gallery that is named has to be there, and this tutorial makes one
        monkeypatch.setenv("ISOTRAIN_GALLERY", str(tmp_path / "gallery.db"))
    for name, content in FILE.findall(text):
        Path(name).write_text(content)
    spent = []
    for command in todo:
        words = shlex.split(command, comments=True)
        assert words[0] == "isotrain", f"{command!r} is not run by the tests"
        expected = int(found[1]) if (found := EXIT.search(command)) else 0
        monkeypatch.setattr(sys, "argv", words)
        began, code = time.process_time(), 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        spent.append((round(time.process_time() - began, 2), command))
        assert code == expected, f"{command}\n{said.out}\n{said.err}"
        if "--json" in words:
            json.loads(said.out)
    missing = [name for name in files if not Path(name).exists()]
    assert not missing, f"promised and not there: {missing}; there are {sorted(map(str, Path('.').rglob('*')))[:80]}"
    print("\n".join(f"{seconds:6.2f} s  {command}" for seconds, command in spent))
