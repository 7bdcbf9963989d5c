"""Put a picture into words: a residual net, attention over its places, a decoder.

Letters: b picture, c h w its channels and places, t word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, Sample, evenly
from isotrain.data.shelf import Shelf
from isotrain.data.symbols import Words
from isotrain.data.text import END, PAD
from isotrain.errors import BadData
from isotrain.likelihood.categorical import Categorical
from isotrain.nets.caption import Captioner, open_places
from isotrain.nets.recurrent import CELLS
from isotrain.nets.resnet import NETS
from isotrain.nets.seq2seq import ATTENTIONS
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores
from isotrain.tasks.classify_card import fitted
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.measured import channels_of
from isotrain.tasks.options import Allowed, Choice, Range, Text, settled
from isotrain.tasks.scores.captions import caption_scores
from isotrain.tasks.sentences import Search, begun, next_loss, searched
from isotrain.tasks.variation import shifted

MEASURED = 256
"""Training pictures that sizes, means and spreads are measured on."""
SMALL, LARGE = 64, 128
"""Side in pixels up to which pictures stay as they are, and that larger ones are brought to."""
TOGETHER = 32
"""Pictures put into words at a time."""
SHOWN = 3
RARE = 20_000
"""Captions for which a word must occur once more to be learned."""
OPTIONS: dict[str, Allowed] = {
    "net": Choice(*NETS),
    "size": Range(8, 1024, whole=True),
    "frozen": Choice(False, True),
    "pretrained": Text(),
    "shift": Range(0, 512, whole=True),
    "vocabulary": Range(5, 100_000, whole=True),
    "longest": Range(2, 200, whole=True),
    "cell": Choice(*CELLS),
    "attention": Choice(*ATTENTIONS),
    "embedded": Range(1, 4096, whole=True),
    "hidden": Range(1, 4096, whole=True),
    "dropout": Range(0.0, 0.9),
}


class Told(NamedTuple):
    """A picture in the net's size, uint8 [C, H, W], and its captions as numbers, each with its end."""

    picture: Tensor
    captions: tuple[Tensor, ...]
    name: str


class Caption(PictureTask):
    """What a picture shows, in a sentence.

    Card: `symbols` of the captions, how pictures are standardised, and the options of `plan`.
    """

    name = "caption"
    score = "CIDEr-D"

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.symbols = Words(card["symbols"]["words"])

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """The card of pictures with captions.

        Options:
            net: a residual net; default resnet20 for pictures up to 64 pixels, resnet18 above.
            size: side in pixels of the net's pictures; default their own up to 64, else 128.
            frozen: the residual net stays as it is; default false. Only makes sense with `pretrained`.
            pretrained: weights to start from, a file or "cache" (torchvision's).
            shift: pixels a picture is moved by at random; default a sixteenth of the size. Pictures are not mirrored:
                captions say left and right.
            vocabulary: words at most; default 10,000. Of more than 20,000 captions, words that occur once are left out,
                of more than 40,000 those that occur twice, and so on to five.
            longest: words of a caption at most; default 40.
            cell: "lstm", "gru" or "rnn"; attention: "additive" or "dot"; embedded: 128; hidden: 256; dropout: 0.2.

        Raises:
            BadData: no pictures, or none with a caption.
            BadOption: an option is unknown or outside its range.
        """
        if not dataset.train:
            raise BadData(f"{dataset.source or 'the data'}: there are no pictures to learn from.")
        shown = [read_picture(sample.picture, reduce=True) for sample in evenly(dataset.train, MEASURED)]
        side = sorted(min(picture.shape[1:]) for picture in shown)[len(shown) // 2]
        size = int(options.get("size") or (side if side <= SMALL else LARGE))
        usual = {
            "net": "resnet20" if size <= SMALL else "resnet18", "size": size, "frozen": False, "pretrained": None,
            "shift": size // 16, "vocabulary": 10_000, "longest": 40, "cell": "lstm", "attention": "additive",
            "embedded": 128, "hidden": 256, "dropout": 0.2,
        }  # fmt: skip
        card = settled(cls.name, OPTIONS, usual, options)
        captions = [caption for sample in dataset.train for caption in sample.said]
        words = Words.of(captions, card["vocabulary"], 1 + min(4, len(captions) // RARE))
        channels = channels_of(shown)
        if card["pretrained"] is not None:
            from isotrain.nets.pretrained import imagenet_scale

            channels["mean"], channels["spread"] = imagenet_scale(channels["channels"])
        return {"classes": [], "symbols": words.to_card(), **channels, **card}

    def net(self) -> nn.Module:
        """Residual net, attention, decoder."""
        card = self.card
        return Captioner(
            card["net"], len(self.symbols), card["mean"], card["spread"], card["embedded"], card["hidden"],
            card["cell"], card["attention"], card["dropout"], card["frozen"],
        )  # fmt: skip

    def begin(self, net: nn.Module) -> None:
        """Load the pretrained weights that the card names.

        Raises:
            BadOption: there is no such file.
            BadCheckpoint: it holds another net's weights.
        """
        if self.card["pretrained"] is not None:
            from isotrain.nets.pretrained import load_pretrained

            assert isinstance(net, Captioner), "the net is this task's"
            load_pretrained(net.encoder.trunk, self.card["pretrained"])

    @property
    def likelihood(self) -> Likelihoods:
        """Of the next word, where there is one."""
        return Categorical(-1, ignore_index=PAD)

    def load(self, sample: Sample) -> Told:
        """The picture in the net's size, its captions as numbers."""
        picture = fitted(read_picture(sample.picture, reduce=True), self.card["channels"], *[self.card["size"]] * 2)
        longest = self.card["longest"]
        captions = (torch.tensor([*self.symbols.encode(text)[:longest], END]) for text in sample.said)
        return Told(picture, tuple(captions), sample.name)

    def batch(self, loaded: Sequence[Told], generator: torch.Generator | None) -> Batch:
        """Pictures, moved at random, and one of the captions of each, at random; without a generator the first."""
        pictures = torch.stack([told.picture for told in loaded])
        drawn = [0] * len(loaded)
        if generator is not None:
            pictures = shifted(pictures, (self.card["shift"],) * 2, False, generator)
            shares = torch.rand(len(loaded), generator=generator).tolist()
            drawn = [int(share * len(told.captions)) for share, told in zip(shares, loaded, strict=True)]
        captions = [told.captions[place] for told, place in zip(loaded, drawn, strict=True)]
        next_bt = pad_sequence(captions, batch_first=True, padding_value=PAD)
        names = [told.name for told in loaded]
        return Batch((pictures.float().div_(255), begun(next_bt)), {"next": next_bt}, names)

    def loss(self, output: Any, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, nats a word."""
        return next_loss(output, targets["next"])

    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        """BLEU-1 to 4, ROUGE-L, CIDEr-D, and the share of captions that say word for word what a reference says."""
        given = []
        for first in range(0, len(shelf), TOGETHER):
            loaded = shelf.take(range(first, min(first + TOGETHER, len(shelf))))
            pictures = torch.stack([told.picture for told in loaded])
            given += [best[0]["caption"] for best, _ in self._say(net, pictures, Search())]
            if tick is not None:
                tick(len(loaded))
        return caption_scores(given, [list(sample.said) for sample in shelf.samples])

    @torch.no_grad()
    def _say(
        self, net: nn.Module, pictures_nchw: Tensor, search: Search
    ) -> list[tuple[list[dict[str, Any]], Tensor | None]]:
        """Captions of pictures in the net's size, uint8, and where it looked for each word of the best one."""
        assert isinstance(net, Captioner), "the net is this task's"
        values_bsf = net.encoder(pictures_nchw.float() / 255)
        found = searched(net.decoder, values_bsf, open_places(values_bsf), self.card["longest"] + 1, search)
        told = []
        for best in found:
            captions = [
                {
                    "caption": self.symbols.decode(one.symbols), "score": one.score, "mean": one.mean,
                    "words": [self.symbols.decode([symbol]) for symbol in one.symbols],
                }
                for one in best
            ]  # fmt: skip
            told.append((captions, best[0].attention))
        return told

    def predict(self, net: nn.Module, picture: Tensor, search: Search | None = None) -> Prediction:
        """A caption; several, the likeliest first, where the search gives several.

        The answer's `heat` is where it looked: [words and end, h, w], shares of one.
        """
        search = search or Search()
        shown = fitted(picture, self.card["channels"], *[self.card["size"]] * 2)
        ((captions, share_ts),) = self._say(net, shown.unsqueeze(0), search)
        answer: dict[str, Any] = {name: captions[0][name] for name in ("caption", "score", "words")}
        if search.n_best > 1:
            answer["captions"] = captions
        heat = None
        if share_ts is not None:
            side = round(share_ts.shape[1] ** 0.5)
            heat = share_ts.view(len(share_ts), side, side)
        return Prediction(answer, heat=heat)

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """The picture once for each word, lit where the net looked; the whole caption beneath."""
        from isotrain.tasks.attention_plot import caption_picture

        assert prediction.heat is not None
        words = prediction.answer["words"]
        shown = fitted(picture, self.card["channels"], *[self.card["size"]] * 2)
        return caption_picture(shown, words, prediction.heat[: len(words)])

    def thumbnail(self, picture: Tensor, prediction: Prediction) -> Image:
        """The picture alone: its caption is written beneath."""
        from torchvision.transforms.v2.functional import to_pil_image

        shown: Image = to_pil_image(fitted(picture, 3, *[self.card["size"]] * 2))
        return shown

    def shown(self, net: nn.Module, shelf: Shelf[Any]) -> str:
        """Some held-out pictures' captions, and one of their references."""
        places = evenly(range(len(shelf)), SHOWN)
        given = self._say(net, torch.stack([told.picture for told in shelf.take(places)]), Search())
        samples = [shelf.samples[place] for place in places]
        return "\n".join(
            f"{sample.name}: {best[0]['caption']} (is: {sample.said[0]})"
            for sample, (best, _) in zip(samples, given, strict=True)
        )

    def example(self) -> tuple[Tensor, ...]:
        """Two pictures of noise and the beginnings of their captions."""
        size = self.card["size"]
        pictures = torch.rand(2, self.card["channels"], size, size, generator=torch.Generator().manual_seed(0))
        return pictures, torch.full((2, 4), END)
