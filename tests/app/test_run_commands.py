"""What is told of a run that is there: `report`, `audit RUN`; and of data before there is a run: `data fits`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TEXT = "".join(f"the {a} cat sees the {b} dog and a bird.\n" for a in ("old", "red", "big") for b in range(60))


def test_a_run_is_audited_on_its_own_data(answer_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer_of("train", "classify", "--minutes", "0.002", "--size", "8", "--json").code == 0
    told = answer_of("audit", "runs/classify", "--steps", "3", "--batch", "8", "--optimizers", "sgd,riemannian",
                    "--changes", "unit-scale,unit-permutation", "--out", "audit.html", "--json")  # fmt: skip
    assert told.code == 0, told.err
    assert set(told.json["gaps"]["riemannian"]) == {"unit-scale", "unit-permutation"}
    assert told.json["readings"]["riemannian"]["unit-permutation"] in ("same", "close")
    assert (tmp_path / "audit.html").read_text().startswith("<!doctype html>")
    other = answer_of("audit", "runs/classify", "--data", "digits")
    assert other.code == 2 and "on its own data" in other.err

    written = answer_of("report", "runs/classify", "--out", "page.html")
    assert written.code == 0 and "page.html" in written.out
    assert "Scores, held-out" in (tmp_path / "page.html").read_text()

    card = json.loads((tmp_path / "runs/classify/card.json").read_text())
    (tmp_path / "runs/classify/card.json").write_text(json.dumps({**card, "task": "translate"}))
    refused = answer_of("audit", "runs/classify")
    assert refused.code == 2 and "a run of translate cannot be audited: its net is recurrent" in refused.err


def test_data_fits_a_task_or_not(answer_of: Any, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    good = answer_of("data", "fits", "characters", str(tmp_path / "book.txt"))
    assert good.code == 0 and "characters can be learned from it" in good.out
    short = tmp_path / "short.txt"
    short.write_text("too short")
    bad = answer_of("data", "fits", "characters", str(short), "--json")
    assert bad.code == 1 and "too few" in bad.json["why"]
    absent = answer_of("data", "fits", "classify", "absent")
    assert absent.code == 2 and "does not exist" in absent.err
