"""Every example runs as a reader would run it, and every piece of Python in docs/ runs as it stands there.

A page's blocks run in their order and share their names. A block that only shows a form is marked ```python no-run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGES = sorted((ROOT / "docs").rglob("*.md"))

# What the output must hold, and how large or small its numbers may be.
SAYS = {
    "train_digits.py": (r"([\d.]+)% of 297 held-out digits", lambda share: share > 94),
    "raw_table.py": (
        r"to ([\d.]+), ([\d.]+)% of 50 held-out wines right\n.*losses: (\S+)",
        lambda loss, share, apart: loss < 0.01 and share >= 94 and apart < 1e-8,
    ),
    "faces_of_drawn_people.py": (
        r"([\d.]+)% of pairs of people never seen are answered right, AUC ([\d.]+)",
        lambda share, auc: share >= 80 and auc > 0.88,
    ),
    "averages.py": (
        r"last weights: ([\d.]+) on 1097 digits\nthe best: ([\d.]+) with",
        lambda last, best: best < 0.95 * last,
    ),
    "train_pictures.py": (r"right on (\d+) % of the test pictures", lambda share: share > 45),
    "regression.py": (
        r"standardised features: ([\d.]+)\n.*raw features: +([\d.]+)",
        lambda standardised, raw: standardised < 0.1 and abs(standardised - raw) < 1e-6,
    ),
    "schedule_and_resume.py": (r"multiplier at the end ([\d.]+)\n.*bit for bit the same", lambda lr: lr < 0.01),
    "two_heads.py": (
        r"([\d.]+)% of the digits right, ink wrong by ([\d.]+)",
        lambda share, ink: share > 85 and ink < 0.025,
    ),
    "papers_rules.py": (
        r"QDOP +loss ([\d.]+), keeps 7.*\nQDMCNat +loss ([\d.]+).*\nDOP +loss ([\d.]+), keeps 4",
        lambda qdop, qdmcnat, dop: max(qdop, qdmcnat) < 0.5 < dop,
    ),
    "shapes_and_metrics.py": (
        r"quasi-diagonal +signs +([\d.]+)[\s\S]*kronecker +signs +([\d.]+)[\s\S]*backpropagated +([\d.]+)",
        lambda *losses: max(losses) < 0.3,
    ),
    "custom_likelihood.py": (r"off by ([\d.]+)% on average", lambda off: off < 10),
    "custom_layer_plain.py": (
        r"'3.log'.*plain=\['3.log'\][\s\S]*held out: ([\d.]+)% right[\s\S]*claims left: unit-permutation",
        lambda share: share > 85,
    ),
    "online_memory.py": (
        r"truncated loss ([\d.]+), push.*\nrank-one +loss ([\d.]+), push ([-+][\d.]+)",
        lambda truncated, rank_one, push: truncated > 1 and rank_one < 0.01 and abs(push + 1 / 6) < 0.02,
    ),
    "audit_my_model.py": (r"riemannian: the same curve under all (\d+) changes", lambda changes: changes >= 3),
}
ARGUMENTS = {"audit_my_model.py": ["10"]}


def test_every_example_is_listed():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


# One process for all of them: loading torch takes longer than any example.
RUN_ALL = """
import contextlib, io, json, runpy, sys, traceback

said = {}
for path, arguments in json.loads(sys.argv[1]):
    sys.argv, out = [path, *arguments], io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(path, run_name="__main__")
        except Exception:
            traceback.print_exc(file=out)
    said[path] = out.getvalue()
print(json.dumps(said))
"""


def test_the_examples_run_and_say_what_they_should(tmp_path):
    wanted = [[str(EXAMPLES / name), ARGUMENTS.get(name, [])] for name in SAYS]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_ALL, json.dumps(wanted)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    wrong = {}
    for path, said in json.loads(run.stdout).items():
        pattern, holds = SAYS[Path(path).name]
        found = re.search(pattern, said)
        if not found or not holds(*(float(number) for number in found.groups())):
            wrong[Path(path).name] = said
    assert not wrong, "\n\n".join(f"{name}:\n{said}" for name, said in wrong.items())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_in_docs_runs(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"__name__": page.stem}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
