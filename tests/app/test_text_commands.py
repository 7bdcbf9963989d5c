"""The commands for text, as transcripts: characters, translate and caption trained, asked, scored and written down."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isotrain.app import run_data
from isotrain.app.cli import main
from isotrain.app.named_data import Named
from isotrain.app.run_data import LENGTH, Asked, asked_by
from isotrain.data.captionfiles import open_captions
from isotrain.data.parallel import open_parallel
from isotrain.data.synthetic import grammar_dataset
from isotrain.data.textfiles import open_text
from isotrain.tasks.characters import Characters
from isotrain.train.rundir import RunFolder

RUN = [sys.executable, "-c", "from isotrain.app.cli import main; main()"]
TINY = "-o embedded=8 -o hidden=16"
TRAINED = {
    "characters": f"train characters --epochs 1 --batch 8 {TINY}",
    "translate": f"train translate --epochs 8 --batch 16 {TINY} -o vocabulary=200",
    "caption": f"train caption --epochs 1 --batch 8 {TINY} --net resnet8",
}


def at(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """In a folder, the twins tiny."""
    patch.chdir(folder)
    patch.setenv("COLUMNS", "120")
    patch.delenv("ISOTRAIN_DATA", raising=False)
    for name, sizes in (("characters", (40, 8, 8)), ("translate", (200, 8, 8)), ("caption", (16, 4, 4))):
        patch.setitem(run_data.TWINS, name, (*run_data.TWINS[name][:2], sizes))


@dataclass(frozen=True)
class Made:
    """Runs, trained once, and what was said meanwhile."""

    folder: Path
    out: dict[str, str]
    err: dict[str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of each task on its twin."""
    found = Made(tmp_path_factory.mktemp("made"), {}, {})
    with pytest.MonkeyPatch.context() as patch:
        at(found.folder, patch)
        for task, words in TRAINED.items():
            patch.setattr(sys, "argv", ["isotrain", *words.split()])
            with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
                with pytest.raises(SystemExit) as stop:
                    main()
            assert stop.value.code == 0, err.getvalue()
            found.out[task], found.err[task] = out.getvalue(), err.getvalue()
    return found


@pytest.fixture
def isotrain(answer_of: Callable[..., Any], made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A command, typed where the runs are in runs/."""
    at(tmp_path, monkeypatch)
    shutil.copytree(made.folder / "runs", tmp_path / "runs")

    def run(words: str, *more: str) -> Any:
        return answer_of(*words.split(), *more)

    return run


# -- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "things", "left"),
    [
        ("characters", "40 stretches", {"curve", "gates"}),
        ("translate", "200 sentences", {"curve", "attention-1"}),
        ("caption", "16 pictures", {"curve", "predictions"}),
    ],
)
def test_a_run_is_announced_and_leaves_what_was_said(made: Made, task: str, things: str, left: set[str]) -> None:
    out, err = made.out[task], made.err[task]
    assert err.startswith("No data given: to try it, generated, ")
    assert f"; {things} to learn from, " in err
    assert "classes" not in err
    assert err.count("\n") == 1
    run = Path("runs") / task
    assert left <= {path.stem for path in (made.folder / run / "pictures").iterdir()}
    assert "Step " in (made.folder / run / "samples.txt").read_text()
    assert f"{run}/samples.txt" in out
    assert all(f"{run}/pictures/{name}.png" in out for name in left)
    assert json.loads((made.folder / run / "card.json").read_text())["plan"]["minutes"] is None


def test_a_book(isotrain: Any) -> None:
    Path("book.txt").write_text("Ein Zwölfboxkämpfer jagt Viktor. " * 200)
    trained = isotrain(f"train characters book.txt --epochs 1 {TINY} -o length=16 --out chars")
    assert trained.code == 0, trained.err
    assert trained.err.startswith("book.txt, text: 6,600 characters of 24 kinds; ")
    assert RunFolder("chars").card()["card"]["length"] == 16
    by_bytes = isotrain(f"train characters book.txt --bytes --epochs 1 {TINY} -o length=16 --out bytes --json")
    assert by_bytes.code == 0, by_bytes.err
    assert by_bytes.json["data"]["format"] == "text: 7,000 bytes of 25 kinds"
    said = isotrain("predict bytes --length 30 --prompt", "Käse → ")
    assert said.out.startswith("Käse → ")  # bytes know every character
    anew = isotrain(f"train characters book.txt --bytes --epochs 2 {TINY} -o length=16 --out bytes --resume --json")
    assert anew.code == 0, anew.err
    assert anew.json["steps"] == 2 * by_bytes.json["steps"]
    Path("latin.txt").write_bytes("Zwölf ".encode("latin-1") * 2000)
    refused = isotrain("train characters latin.txt --out x")
    assert refused.code == 2
    assert "latin.txt:1: not UTF-8 text: byte 2 is 0xf6" in refused.err
    assert "--bytes" in refused.err
    assert isotrain(f"train characters latin.txt --bytes --epochs 1 {TINY} --out latin --json").code == 0


def test_a_text_is_cut_as_the_task_plans_it() -> None:
    asked = Asked.of("characters", Named(), None, 0, {})
    assert asked.options["length"] == LENGTH == Characters.plan(grammar_dataset(20, 2, 2), {})["length"]
    assert {len(sample.text) for sample in asked.open("characters").train} == {LENGTH + 1}


def sentences(number: int, begin: int = 0) -> Iterator[tuple[str, str]]:
    for place in range(begin, begin + number):
        yield f"dog {place % 7} runs {'fast ' * (place % 3)}.", f"hund {place % 7} {'schnell ' * (place % 3)}rennt ."


def test_files_of_sentences(isotrain: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, number, begin in (("train", 30, 0), ("val", 5, 50)):
        source, target = zip(*sentences(number, begin), strict=True)
        Path(f"{name}.en").write_text("\n".join(source))
        Path(f"{name}.de.gz").write_bytes(gzip.compress("\n".join(target).encode()))
    words = f"train translate --source train.en --target train.de.gz --epochs 2 --batch 10 {TINY} --json"
    alone = isotrain(f"{words} --out alone")
    assert alone.code == 0, alone.err
    assert sum(alone.json["samples"].values()) == 30
    assert 1 <= alone.json["samples"]["held_out"] <= 3
    both = isotrain(f"{words} --val-source val.en --val-target val.de.gz --out both")
    assert both.json["samples"] == {"train": 30, "held_out": 5, "test": 0}
    kept = json.loads(Path("both/asked.json").read_text())
    assert kept["data"] == str(tmp_path / "train.en")
    assert kept["beside"] == str(tmp_path / "train.de.gz")
    assert kept["val"] == [str(tmp_path / "val.en"), str(tmp_path / "val.de.gz")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    own = isotrain("evaluate ../both --json")
    assert own.json["samples"] == 5
    assert set(own.json["scores"]["held-out"]) >= {"bleu", "chrf", "bleu_signature"}
    other = isotrain("evaluate ../both --source ../train.en --target ../train.de.gz")
    assert "on 30 train samples" in other.out
    assert "bleu signature: nrefs:1|" in other.out
    longer = isotrain("train translate --resume --epochs 3 --out ../both --json")
    assert longer.code == 0, longer.err
    assert longer.json["steps"] == 9
    Path("pairs.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in sentences(40)))
    table = isotrain(f"train translate pairs.tsv --held-out 0.25 --epochs 1 {TINY} --json")
    assert table.json["data"]["format"].startswith("tab-separated ")
    assert table.json["samples"]["train"] + table.json["samples"]["held_out"] == 40
    assert table.json["samples"]["held_out"] == pytest.approx(10, abs=2)


def test_pictures_and_captions(isotrain: Any, tmp_path: Path) -> None:
    isotrain("data make caption made --train 12 --held-out 4 --test 2 -o size=48")
    trained = isotrain(f"train caption made --epochs 1 {TINY} --net resnet8 --out one --json")
    assert trained.json["samples"] == {"train": 12, "held_out": 4, "test": 2}
    (tmp_path / "said.jsonl").write_text(
        "".join(f'{{"file_name": "train/{n:06d}.png", "caption": "a shape"}}\n' for n in range(1, 7))
    )
    beside = isotrain(f"train caption made said.jsonl --epochs 1 {TINY} --net resnet8 --held-out 0.5 --out two --json")
    assert beside.code == 0, beside.err
    assert beside.json["samples"] == {"train": 3, "held_out": 3, "test": 0}
    assert asked_by(RunFolder("two")).beside == str(tmp_path / "said.jsonl")
    scored = isotrain("evaluate two made --json")
    assert scored.json["samples"] == 2
    assert scored.json["score"] == "CIDEr-D"
    assert isotrain("evaluate one made said.jsonl --json").json["samples"] == 6


def test_a_run_asked_for_by_an_older_version_is_still_known(tmp_path: Path) -> None:
    (tmp_path / "asked.json").write_text('{"data": "photos", "held_out": 0.2, "seed": 3, "options": {"size": 9}}')
    assert asked_by(RunFolder(tmp_path)) == Asked("photos", 0.2, 3, {"size": 9})


# -- made data ----------------------------------------------------------------------------------------------------


def test_made_texts_are_found_again(isotrain: Any) -> None:
    assert isotrain("data make characters text --train 90 --held-out 5 --test 5").code == 0
    text = open_text("text/text.txt", length=64)
    assert len(text.train) == 90
    made = isotrain("data make translate language --train 30 --held-out 5 --test 3")
    assert made.code == 0, made.err
    assert "30 train, 5 held out, 3 test" in made.out
    read = open_parallel("language/train.source", "language/train.target", held_out=0)
    twin = run_data.twin("translate", 0, (30, 5, 3))
    assert [(s.text, s.said) for s in read.train] == [(s.text, s.said) for s in twin.train]
    isotrain("data make caption scenes --train 3 --held-out 2 --test 1")
    pictures = open_captions("scenes")
    assert [len(part) for part in (pictures.train, pictures.held_out, pictures.test)] == [3, 2, 1]
    assert {s.said for s in pictures.train} == {s.said for s in run_data.twin("caption", 0, (3, 2, 1)).train}


# -- writing on ---------------------------------------------------------------------------------------------------


def test_writing_on(isotrain: Any) -> None:
    first = isotrain("predict runs/characters --length 50 --prompt", "The ")
    assert first.code == 0, first.err
    assert first.err == ""
    assert first.out.startswith("The ")
    assert first.out.endswith("\n")
    assert len(first.out) == len("The ") + 50 + 1
    assert isotrain("predict runs/characters --length 50 --seed 0 --prompt", "The ").out == first.out
    assert isotrain("predict runs/characters --length 50 --seed 1 --prompt", "The ").out != first.out
    sure = [
        isotrain(f"predict runs/characters --temperature {t} --top-k {k} --prompt Fe").out for t, k in ((0, 9), (2, 1))
    ]
    assert sure[0] == sure[1]
    assert len(sure[0]) == len("Fe") + 500 + 1
    most = f"--seed {2**64 - 1} --temperature 1e-50"
    assert isotrain(f"predict runs/characters {most} --prompt Fe").out == sure[0]
    told = isotrain("predict runs/characters --length 50 --json --prompt", "The ").json
    assert told["prompt"] + told["text"] + "\n" == first.out
    assert told["symbols"] == 50
    assert told["interrupted"] is False


def test_gates_drawn_while_it_writes(isotrain: Any) -> None:
    plain = isotrain("predict runs/characters --length 30 --prompt", "The ")
    drawn = isotrain("predict runs/characters --gates --length 30 --prompt", "The ")
    assert drawn.out == plain.out
    assert "Written: runs/characters/predictions/gates.png" in drawn.err
    with Image.open("runs/characters/predictions/gates.png") as small:
        size = small.size
    told = isotrain("predict runs/characters --gates --out seen-gates --length 300 --json --prompt", "The ").json
    with Image.open(told["drawn"]) as large:  # the first 140 symbols, in two lines
        assert told["drawn"] == "seen-gates/gates.png" and large.height > 1.5 * size[1]


def resident(process: int) -> int:
    """Kilobytes in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc")
def test_a_million_characters_come_one_by_one_and_stop_with_what_there_is(isotrain: Any) -> None:
    words = ["predict", "runs/characters", "--length", "1000000", "--prompt", "The"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def listening() -> None:
        """A shell that runs the tests in the background leaves its children deaf to Ctrl-C."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen([*RUN, *words], env=environment, preexec_fn=listening, **streams) as running:
        assert running.stdout is not None
        text = running.stdout.read(1000)  # long before the end
        before = resident(running.pid)
        text += running.stdout.read(5000)
        after = resident(running.pid)
        running.send_signal(signal.SIGINT)
        rest, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.decode().splitlines() == ["isotrain: interrupted."]
    whole = (text + rest).decode()
    assert whole.startswith("The")
    assert whole.endswith("\n")
    assert 6000 <= len(whole) < 1_000_000
    assert after - before < 3000


def test_json_tells_that_it_was_interrupted(isotrain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: Any) -> Iterator[str]:
        yield from "abc"
        raise KeyboardInterrupt

    monkeypatch.setattr(Characters, "write", write)
    answer = isotrain("predict runs/characters --prompt The --json")
    assert answer.code == 130
    assert answer.err == "isotrain: interrupted.\n"
    assert answer.json["text"] == "abc"
    assert answer.json["interrupted"] is True


# -- translating --------------------------------------------------------------------------------------------------


def test_translating(isotrain: Any) -> None:
    answer = isotrain("predict runs/translate --text", "The dog runs.", "--text", "Two boats")
    assert answer.code == 0, answer.err
    assert answer.out.count("\n") == 2
    assert (
        answer.err
        == "Written: runs/translate/predictions/translation-1.png, runs/translate/predictions/translation-2.png\n"
    )
    with Image.open("runs/translate/predictions/translation-2.png") as picture:
        assert picture.width > 100
    several = isotrain("predict runs/translate --n-best 7 --no-pictures --text", "The dog runs.")
    assert several.err == ""
    rows = [line.split("\t") for line in several.out.splitlines()]
    assert [row[0] for row in rows] == ["1"] * 7
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    told = isotrain(
        "predict runs/translate --json --beam 5 --length-penalty 0.5 --out seen --text", "The dog runs."
    ).json
    (found,) = told["predictions"]
    assert found["translation"] == found["translations"][0]["text"]
    assert "".join(found["translations"][0]["pieces"]).replace("▁", " ").strip().startswith(found["translation"])
    assert found["drawn"] == "seen/translation-1.png"
    assert Path(found["drawn"]).is_file()


def test_a_file_is_translated_line_by_line(isotrain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["The dog runs.", "", "Two boats", "a " * 50_000]
    Path("lines.txt").write_text("\n".join(lines) + "\n")
    answer = isotrain("predict runs/translate --input lines.txt --no-pictures")
    assert answer.code == 0, answer.err
    assert answer.out.count("\n") == 4
    assert answer.out.splitlines()[1] == ""
    assert answer.err == "lines.txt:4 has more than 100 pieces: the rest is left out.\n"
    alone = isotrain("predict runs/translate --no-pictures --text", "Two boats")
    assert answer.out.splitlines()[2] + "\n" == alone.out
    told = isotrain("predict runs/translate --input lines.txt --json --no-pictures").json["predictions"]
    assert [one["cut"] for one in told] == [False, False, False, True]
    assert told[1]["translations"] == []
    with Path("lines.txt").open() as typed:
        monkeypatch.setattr("sys.stdin", typed)
        assert isotrain("predict runs/translate --input - --no-pictures").out == answer.out
    marked = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + Path("lines.txt").read_bytes()), "latin-1")
    monkeypatch.setattr("sys.stdin", marked)
    told = isotrain("predict runs/translate --input - --json --no-pictures").json["predictions"]
    assert [one["sentence"] for one in told] == lines
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\nZw\xf6lf\n"), "utf-8"))
    refused = isotrain("predict runs/translate --input - --no-pictures")
    assert (refused.code, refused.err) == (2, "isotrain: stdin:2: not UTF-8 text: byte 6 is 0xf6. Save it as UTF-8.\n")
    Path("many.txt").write_text("a\n" * 9)
    assert isotrain("predict runs/translate --input many.txt").err == ""  # more than a few are not drawn unasked
    assert isotrain("predict runs/translate --pictures --input many.txt").err.count("translation-") == 9


# -- captions -----------------------------------------------------------------------------------------------------


def test_captions(isotrain: Any) -> None:
    Image.effect_noise((80, 60), 50).save("photo.jpg")
    answer = isotrain("predict runs/caption photo.jpg")
    assert answer.code == 0, answer.err
    assert "photo.jpg" in answer.out
    told = isotrain("predict runs/caption photo.jpg --n-best 3 --beam 4 --length-penalty 0 --json").json["predictions"][
        0
    ]
    assert len(told["captions"]) == 3
    assert told["caption"] == told["captions"][0]["caption"]
    with Image.open(told["drawn"]) as picture:
        assert picture.width > 50


# -- scores -------------------------------------------------------------------------------------------------------


def test_another_text(isotrain: Any) -> None:
    own = isotrain("evaluate runs/characters")
    assert "on 8 held-out samples of grammar" in own.out
    assert "bits per symbol" in own.out
    Path("other.txt").write_text("The dog runs. " * 400)
    other = isotrain("evaluate runs/characters other.txt --json")
    assert other.code == 0, other.err
    assert other.json["split"] == "all"
    assert other.json["samples"] == len(open_text("other.txt", whole=True).test) == 88  # 5,599 symbols follow one
    assert set(other.json["scores"]["all"]) == {"bits per symbol", "nats per symbol", "accuracy"}
    assert isotrain("evaluate runs/characters other.txt --split test --json").json["split"] == "test"
    Path("short.txt").write_text("The dog")
    short = isotrain("evaluate runs/characters short.txt --json")
    assert short.code == 0, short.err
    assert short.json["samples"] == 1
    Path("odd.txt").write_text("The dog runs. " * 300 + "é" + " dogs" * 600)
    odd = isotrain("evaluate runs/characters odd.txt")
    assert odd.code == 2
    assert "odd.txt, character 4200: 'é' (U+00E9" in odd.err
    assert "--bytes" in odd.err


# -- exported -----------------------------------------------------------------------------------------------------


def test_exported_nets(isotrain: Any) -> None:
    pytest.importorskip("onnxruntime")
    answer = isotrain("export runs/characters")
    assert answer.code == 0, answer.err
    assert "runs/characters/model.onnx" in answer.out
    assert "batch x time" in answer.out
    pair = isotrain("export runs/translate --out net --json")
    assert pair.code == 0, pair.err
    assert [file["path"] for file in pair.json["files"]] == ["net/encoder.onnx", "net/decoder.onnx"]
    assert all(file["difference"] < 1e-4 for file in pair.json["files"])
    refused = isotrain("export runs/translate --out net.onnx")
    assert refused.code == 2
    assert "--out names their folder" in refused.err


# -- faults of the user's -----------------------------------------------------------------------------------------

FAULTS = [
    ("train characters a.txt b.txt --out x", ["characters takes one DATA", "b.txt is one more"]),
    ("train translate a.en a.de --out x", ["--source a.en --target a.de"]),
    ("train caption a b c --out x", ["c is one more"]),
    ("train classify a b --out x", ["classify takes one DATA", "b is one more"]),
    ("train detect --source a --out x", ["--source is for translate: detect takes one DATA"]),
    ("train translate --target a.de --out x", ["--target a.de needs --source"]),
    ("train translate --val-target a.de --out x", ["--val-target a.de needs --val-source"]),
    ("train translate --val-source a.en --out x", ["--val-source a.en needs --source"]),
    ("train translate a.tsv --source b.en --out x", ["--source b.en and DATA a.tsv: name one"]),
    ("train translate --source absent.en --target absent.de --out x", ["absent.en does not exist"]),
    ("train translate one.en --out x", ["one.en is one side", "--target FILE"]),
    ("train translate --source one.en --target three.de --out x", ["one.en has 1 lines, ", "three.de:2"]),
    ("train characters absent.txt --out x", ["absent.txt does not exist"]),
    ("train characters one.en --out x", ["14 characters", "too few"]),
    ("train characters one.en --out x -o length=wide", ["length='wide' should be a whole number"]),
    ("train characters one.en --out x -o length=Infinity", ["length=inf should be a whole number from 8 to 4096"]),
    ("train characters one.en --out x -o length=NaN", ["length=nan should be a whole number from 8 to 4096"]),
    ("train characters --held-out 0.2 --out x", ["--held-out", "last tenth of a text"]),
    ("train characters --out x --net lstm", ["option of characters 'net' is not known"]),
    ("train translate --bytes --out x", ["option of translate 'bytes' is not known"]),
    (
        "train translate --source a --target b --val-source c --held-out 0.1 --out x",
        ["--held-out 0.1 and --val-source c"],
    ),
    ("predict runs/characters", ["needs --prompt TEXT", "--temperature"]),
    ("predict runs/translate", ["needs --text SENTENCE or --input FILE", "--n-best"]),
    ("predict runs/caption", ["needs PICTURE...", "--beam"]),
    ("predict runs/translate --prompt a", ["--prompt is nothing that runs/translate, a run of translate, can use"]),
    ("predict runs/characters --text a", ["--text is nothing", "characters takes --prompt TEXT"]),
    ("predict runs/characters --prompt The --out seen", ["--out seen is the folder of the picture that --gates draws"]),
    ("predict runs/characters photo.jpg", ["photo.jpg is nothing that runs/characters"]),
    ("predict runs/caption photo.jpg --length 9", ["--length is nothing", "caption takes PICTURE..."]),
    ("predict runs/caption absent.jpg", ["absent.jpg does not exist"]),
    ("predict runs/translate --text a --input one.en", ["--text and --input: one of them"]),
    ("predict runs/translate --input absent.txt", ["absent.txt cannot be read"]),
    ("predict runs/translate --input empty.txt", ["empty.txt holds no sentence"]),
    ("predict runs/translate --input latin.txt", ["latin.txt:1: not UTF-8 text: byte 2 is 0xf6"]),
    ("predict runs/translate --text a --beam 0", ["--beam 0 should be"]),
    ("predict runs/translate --text a --beam 2 --n-best 3", ["--n-best 3 should be 1 to the number of beams, 2"]),
    ("predict runs/translate --text a --length-penalty -1", ["--length-penalty -1.0 should be 0 to 10"]),
    ("predict runs/translate --text a --length-penalty 1000", ["--length-penalty 1000.0 should be 0 to 10"]),
    ("predict runs/caption photo.jpg --length-penalty nan", ["--length-penalty nan should be 0 to 10"]),
    ("predict runs/characters --prompt é", ["'é' (U+00E9", "number 1 of the text", "--bytes"]),
    ("predict runs/characters --prompt é --json", ["'é' (U+00E9"]),
    ("predict runs/characters --prompt The --temperature -1", ["temperature of -1.0 should be 0 or more"]),
    ("predict runs/characters --prompt The --seed -1", ["--seed -1 should be 0 to 18,446,744,073,709,551,615"]),
    (
        "predict runs/characters --prompt The --seed 18446744073709551616",
        ["--seed 18446744073709551616 should be 0 to"],
    ),
    ("train characters --out x --seed -1", ["seed=-1 should be 0 to 18,446,744,073,709,551,615"]),
    ("train translate --out x --seed 18446744073709551616", ["seed=18446744073709551616 should be 0 to"]),
    ("predict runs/characters --prompt The --top-k 0", ["top_k=0 should be 1 or more"]),
    ("predict runs/characters --prompt The --length 0", ["--length"]),
    ("evaluate runs/characters one.en three.de", ["characters takes one DATA"]),
    ("evaluate runs/characters --source one.en", ["--source is for translate"]),
    ("evaluate runs/translate --target three.de", ["--target three.de needs --source"]),
    ("export runs/characters --out x.pt", ["x.pt should end in .onnx"]),
    ("compare --suite memry", ["suite 'memry' is not known. Did you mean 'memory'"]),
    ("compare --suite memory --lengths wide", ["--lengths wide should be whole numbers"]),
    ("compare --suite memory --cells gruu", ["cell 'gruu' is not known. Did you mean 'gru'"]),
    ("compare --suite standard --cells gru", ["--cells gru is for --suite memory"]),
]


@pytest.mark.parametrize(("words", "said"), FAULTS, ids=[words for words, _ in FAULTS])
def test_a_fault_is_one_line(isotrain: Any, words: str, said: list[str]) -> None:
    Path("one.en").write_text("The dog runs.\n")
    Path("three.de").write_text("eins\nzwei\ndrei\n")
    Path("empty.txt").write_text("\n \n")
    Path("latin.txt").write_bytes("Zwölf".encode("latin-1"))
    answer = isotrain(words)
    assert answer.code == 2
    assert answer.out == ""
    lines = [line for line in answer.err.splitlines() if not line.startswith("No data given")]
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("isotrain: ")
    for part in said:
        assert part in answer.err
    assert not Path("x").exists()


def test_an_empty_prompt(isotrain: Any) -> None:
    answer = isotrain("predict runs/characters --prompt", "")
    assert answer.code == 2
    assert "--prompt is empty" in answer.err


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("train", "isotrain train characters book.txt"),
        ("train", "isotrain train translate --source train.en --target train.de"),
        ("train", "isotrain train caption photos/ captions.json"),
        ("predict", 'isotrain predict runs/characters --prompt "ROMEO:"'),
        ("predict", 'isotrain predict runs/translate --text "A dog runs."'),
        ("predict", "isotrain predict runs/caption photo.jpg"),
        ("evaluate", "isotrain evaluate runs/translate --source test.en --target test.de"),
        ("export", "isotrain export runs/translate"),
        ("compare", "isotrain compare --suite memory"),
        ("data make", "isotrain data make translate"),
    ],
)
def test_help_shows_the_text_tasks(answer_of: Any, monkeypatch: pytest.MonkeyPatch, command: str, example: str) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    answer = answer_of(*command.split(), "--help")
    assert answer.code == 0
    assert example in answer.out
