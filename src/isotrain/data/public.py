"""The public sets that the tasks are tried on: where each comes from, under which licence, how its folder is laid out.

Facts only: isotrain downloads nothing. A set counts as here if it lies in the folder named by ``$ISOTRAIN_DATA``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublicSet:
    """One set.

    Attributes:
        name: also of its folder.
        tasks: it is for.
        size: training + test samples.
        home: its page.
        licence: as its source states it.
        layout: what its folder holds.
        signs: files or folders, any of which shows that it is here (patterns).
    """

    name: str
    tasks: tuple[str, ...]
    size: str
    home: str
    licence: str
    layout: str
    signs: tuple[str, ...]

    def found(self, home: Path | None) -> Path | None:
        """Its folder below `home`, if it is there."""
        if home is None or not (home / self.name).is_dir():
            return None
        return home / self.name if any(any((home / self.name).glob(sign)) for sign in self.signs) else None


PUBLIC_SETS = (
    PublicSet(
        "mnist",
        ("classify",),
        "60,000 + 10,000",
        "http://yann.lecun.com/exdb/mnist/",
        "none stated; copies elsewhere state their own",
        "four idx files: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-...; .gz or not",
        ("train-images*idx3-ubyte*",),
    ),
    PublicSet(
        "fashion-mnist",
        ("classify",),
        "60,000 + 10,000",
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT",
        "the same four files as mnist",
        ("train-images*idx3-ubyte*",),
    ),
    PublicSet(
        "cifar10",
        ("classify",),
        "50,000 + 10,000",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated",
        "binary version: data_batch_1.bin to data_batch_5.bin, test_batch.bin",
        ("data_batch_*.bin*",),
    ),
    PublicSet(
        "imagenette",
        ("classify", "localise"),
        "9,469 + 3,925",
        "https://github.com/fastai/imagenette",
        "Apache-2.0 (the list); pictures are their owners'",
        "a folder a class: train/CLASS/*.JPEG, val/CLASS/*.JPEG",
        ("train/*/*", "val/*/*"),
    ),
    PublicSet(
        "imagenet",
        ("classify", "localise"),
        "1,281,167 + 50,000",
        "https://image-net.org",
        "non-commercial research and education",
        "a folder a class: train/CLASS/*.JPEG, val/CLASS/*.JPEG",
        ("train/n*", "val/n*"),
    ),
    PublicSet(
        "voc2007",
        ("localise", "detect"),
        "5,011 + 4,952",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
        "Flickr terms of use, picture by picture",
        "JPEGImages/, Annotations/*.xml, ImageSets/Main/*.txt",
        ("Annotations/*.xml", "VOC2007/Annotations/*.xml"),
    ),
    PublicSet(
        "voc2012",
        ("localise", "detect", "masks"),
        "5,717 + 5,823 (masks: 1,464 + 1,449)",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        "Flickr terms of use, picture by picture",
        "JPEGImages/, Annotations/*.xml, ImageSets/, SegmentationObject/*.png",
        ("Annotations/*.xml", "VOC2012/Annotations/*.xml"),
    ),
    PublicSet(
        "coco",
        ("detect", "masks", "caption"),
        "118,287 + 5,000",
        "https://cocodataset.org",
        "annotations CC BY 4.0; pictures: Flickr licences, one by one in the json",
        "annotations/instances_train2017.json, captions_train2017.json, _val2017.json; train2017/*.jpg, val2017/*.jpg",
        ("annotations/instances_*.json", "annotations/captions_*.json"),
    ),
    PublicSet(
        "lgg",
        ("masks",),
        "3,929 slices of 110 patients",
        "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
        "as its page states (source: The Cancer Imaging Archive)",
        "pictures with masks beside them, NAME.png and NAME_mask.png",
        ("*mask*", "*/*mask*"),
    ),
    PublicSet(
        "lfw",
        ("faces",),
        "13,233 pictures of 5,749 people",
        "http://vis-www.cs.umass.edu/lfw/",
        "none stated; identifiable people: research tests only",
        "NAME/NAME_0001.jpg, pairsDevTrain.txt",
        ("*/*_0001.jpg", "*/*/*_0001.jpg"),
    ),
    PublicSet(
        "ytfaces",
        ("faces",),
        "3,425 films of 1,595 people",
        "https://www.cs.tau.ac.il/~wolf/ytfaces/",
        "as its page states; identifiable people: research tests only",
        "frames as jpg, csv of their 68 landmarks",
        ("*.csv", "*/*.csv"),
    ),
    PublicSet(
        "multi30k",
        ("translate",),
        "29,000 + 1,014 sentences",
        "https://github.com/multi30k/dataset",
        "non-commercial research and education",
        "train.en, train.de, train.fr, val.en, ...: a sentence a line; .gz or not; --source train.en --target train.de",
        ("train*.en*",),
    ),
    PublicSet(
        "text",
        ("characters",),
        "1,115,394 characters",
        "https://github.com/karpathy/char-rnn",
        "MIT (its repository); the plays are in the public domain",
        "one .txt, tiny Shakespeare",
        ("*.txt*",),
    ),
)
