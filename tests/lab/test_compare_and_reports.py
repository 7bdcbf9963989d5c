"""Trainers side by side, and results written down."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import isotrain
from isotrain.data.digits import digits
from isotrain.data.sources import batched
from isotrain.errors import BadOption
from isotrain.lab.compare import Comparison
from isotrain.lab.demo import SETTINGS, Demo, demo
from isotrain.lab.runs import train
from isotrain.train.optimizers import chosen


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    training, held_out = digits()
    return isotrain.compare(
        build,
        batched(training, 50),
        ["adam@1e-2", "sgd@1e30", "riemannian"],
        epochs=1,
        held_out=[held_out],
        progress=False,
    )


@pytest.fixture(scope="module")
def shown() -> Demo:
    return demo(steps=12, progress=False)


def test_rows_hold_curves_scores_and_memory(comparison: Comparison) -> None:
    adam, sgd, ours = comparison.rows.values()
    assert len(adam.losses) == len(adam.seconds) == 30
    assert adam.seconds == sorted(adam.seconds)
    assert adam.accuracy > 0.5
    assert adam.held_out_loss > 0
    parameters = 64 * 16 + 16 + 16 * 10 + 10
    assert adam.state_bytes == 2 * 4 * parameters + 4 * 4  # two moments a parameter, a step count a tensor
    assert sgd.diverged_at is not None
    assert sgd.train_loss is None
    assert ours.train_loss is not None
    assert "Diverged: sgd 1e+30." in comparison.verdict


def test_all_start_from_the_same_model(comparison: Comparison) -> None:
    assert len({row.losses[0] for row in comparison.rows.values()}) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(steps=3, epochs=1), "one of them"),
        (dict(steps=0), "positive"),
        (dict(epochs=0), "positive"),
        (dict(epochs=1, batches=iter([])), "known length"),
    ],
)
def test_refusals(options: dict[str, object], words: str) -> None:
    given = {"batches": batched(digits()[0], 50), "optimizers": ["sgd"], "progress": False, **options}
    with pytest.raises(BadOption, match=words):
        isotrain.compare(build, **given)


def test_a_gradient_that_is_not_finite_is_a_divergence() -> None:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        return (output * 0).sqrt().sum()  # finite, with an infinite slope

    model = nn.Linear(3, 2)
    run = train(model, loss, chosen("riemannian"), [(torch.rand(4, 3), torch.zeros(4))] * 3)
    assert run.diverged_at == 0
    assert run.final is None


def test_the_demo_shows_the_surprise_and_its_cure(shown: Demo) -> None:
    assert list(shown.curves["isotrain"]) == list(SETTINGS)
    assert shown.gaps["isotrain"] < 1e-9
    assert shown.reading("isotrain") == "same"
    rivals = [t for t in shown.curves if t != "isotrain"]
    assert [r.split()[0] for r in rivals] == ["sgd", "rmsprop", "adam", "muon"]
    assert all(shown.reading(r) != "same" for r in rivals)
    assert shown.verdict[0].startswith("isotrain: six curves, one line")
    assert all("rate" in words for words in shown.rates.values())


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "br", "img", "line", "rect", "path", "use"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if self.open and tag == self.open[-1]:
            self.open.pop()


@pytest.mark.parametrize("which", ["audit", "compare", "demo"])
def test_a_page_is_one_file_and_closes_its_tags(
    which: str, comparison: Comparison, shown: Demo, tmp_path: Path
) -> None:
    audit = isotrain.audit(build, batched(digits()[0], 50), ["sgd", "sgd@1e308"], steps=5, progress=False)
    result = {"audit": audit, "compare": comparison, "demo": shown}[which]
    text = result.save(tmp_path / "deep" / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)", text), "an address"
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert drawings
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in drawings), "a picture without words"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id twice"
    assert {a["href"] for t, a in page.tags if t == "use"} <= {f"#{i}" for i in ids}
    assert result.save(tmp_path / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert json.loads(result.save(tmp_path / "report.json").read_text())["kind"] == which
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["report.html"], "something was left beside it"


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    def sneaky(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1)

    sneaky.__name__ = '<b>"&'
    found = isotrain.audit(build, batched(digits()[0], 50), [sneaky], ["unit-scale"], steps=2, progress=False)
    text = found.save(tmp_path / "a.html").read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;" in text


def test_a_report_that_cannot_be_written_says_so(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="should end in"):
        comparison.save(tmp_path / "report.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOption, match="cannot be written"):
        comparison.save(tmp_path / "file" / "report.html")
