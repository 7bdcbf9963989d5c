"""People who do not exist, photographed: twin of everything done with faces.

A person is proportions, colours and marks of a head (`isotrain.data.synthetic.head`); a picture of one differs by pose,
expression, light, clothes, background, blur and noise. The 68 landmarks are where they were drawn, those on the far
side of a turned head too. A face's box is a square of 2.7 distances of the eyes around the nose, as in LFW.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from isotrain.aside import write_aside
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.synthetic.draws import Part, Twin, drawn, generator
from isotrain.data.synthetic.head import BOX, Person, View, born, box
from isotrain.data.synthetic.portrait import draw_head
from isotrain.data.synthetic.shape import developed, ground
from isotrain.data.synthetic.texture import Floats
from isotrain.errors import BadOption
from isotrain.progress import Tick

FIRST = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gala",
    "Hugo",
    "Ines",
    "Jon",
    "Kira",
    "Leo",
    "Maya",
    "Nils",
    "Olga",
    "Paul",
)
LAST = (
    "Alder",
    "Birch",
    "Cedar",
    "Dogwood",
    "Elm",
    "Fir",
    "Gorse",
    "Hazel",
    "Ivy",
    "Juniper",
    "Larch",
    "Maple",
    "Oak",
    "Pine",
)
LFW = 2.2
"""Side of LFW's pictures in sides of the face's box."""
SMALLEST_SIZE = 16


class FacePicture(NamedTuple):
    """One person's face.

    Attributes:
        picture: uint8 [3, size, size].
        person: whose face it is.
        box: [4], left, top, right, bottom.
        landmarks: [68, 2] in iBUG's order, x and y in pixels.
    """

    picture: Tensor
    person: int
    box: Tensor
    landmarks: Tensor


class Photo(NamedTuple):
    """Several faces in one photo.

    Attributes:
        picture: uint8 [3, size, size].
        boxes: [n, 4].
        landmarks: [n, 68, 2].
        people: whose faces they are, [n].
    """

    picture: Tensor
    boxes: Tensor
    landmarks: Tensor
    people: tuple[int, ...]


def person_name(person: int) -> str:
    """The name of a person, unlike that of any other.

    >>> person_name(0), person_name(17), person_name(224)
    ('Ada_Alder', 'Ben_Cedar', 'Ada_Alder_2')
    """
    first, turn = person % len(FIRST), person // len(FIRST)
    again = turn // len(LAST)
    name = f"{FIRST[first]}_{LAST[(first + turn) % len(LAST)]}"
    return f"{name}_{again + 1}" if again else name


def face_picture(person: int, place: int, seed: int = 0, size: int = 64, frame: float = 1.6) -> FacePicture:
    """Picture number `place` of a person.

    Args:
        person: 0 or more; with another seed it is somebody else.
        place: 0 or more.
        seed: of everything; 0 or more.
        size: height and width of the picture, 16 or more.
        frame: side of the picture in sides of the face's box; LFW's is 2.2.

    Raises:
        BadOption: an option is outside its range.

    >>> one = face_picture(person=3, place=0)
    >>> one.picture.shape, one.landmarks.shape
    (torch.Size([3, 64, 64]), torch.Size([68, 2]))
    """
    _checked(size, person, place)
    rng = generator(Twin.FACES, seed, Part.TRAIN, (person << 20) + place)
    canvas = ground(rng, size)
    scale = size / (frame * BOX) * float(rng.uniform(0.9, 1.1))
    x, y = size / 2 + size * rng.uniform(-0.04, 0.04, 2)
    view = _view(rng, scale, (float(x), float(y)))
    landmarks = draw_head(_person(person, seed), view, canvas)
    picture = developed(rng, _blurred(rng, canvas, scale))
    return FacePicture(picture, person, torch.tensor(box(view)), torch.from_numpy(landmarks).float())


def faces_dataset(
    train: int = 600,
    held_out: int = 150,
    test: int = 150,
    seed: int = 0,
    size: int = 64,
    tick: Tick | None = None,
    each: int = 10,
    frame: float = 1.6,
) -> Dataset:
    """Pictures with one face each, the class the person; nobody is in two parts.

    Args:
        train: number of pictures to learn from.
        held_out: number to choose by.
        test: number to test on.
        seed: of everything; 0 or more.
        size: height and width of a picture, 16 or more.
        tick: called after every picture.
        each: pictures of a person; 2 or more. The last person of a part may have fewer.
        frame: side of the picture in sides of the face's box; LFW's is 2.2.

    Returns:
        Samples with the person's number in `labels`, the face's box and landmarks in `things`, and the person's name
        in `group`.

    Raises:
        BadOption: an option is outside its range.

    >>> data = faces_dataset(train=6, held_out=2, test=2, size=32, each=2)
    >>> [data.classes[sample.labels[0]] for sample in data.train[::2]]
    ['Ada_Alder', 'Ben_Birch', 'Cleo_Cedar']
    >>> data.held_out[0].group
    'Dan_Dogwood'
    """
    _checked(size, train, held_out, test)
    if each < 2:
        raise BadOption(f"{each} picture of a person: 2 are needed to know one again.")
    people = [-(-number // each) for number in (train, held_out, test)]
    starts = (0, people[0], people[0] + people[1])

    def part(start: int, number: int) -> list[Sample]:
        return drawn(lambda place: _sample(start + place // each, place % each, seed, size, frame), number, tick)

    learned, held, tested = map(part, starts, (train, held_out, test))
    names = tuple(person_name(person) for person in range(sum(people)))
    form = "generated: one face to a picture, people as classes"
    return Dataset(names, learned, held, tested, source="faces", format=form)


def face_photo(people: Sequence[int], seed: int = 0, size: int = 256, place: int = 0) -> Photo:
    """A photo of several people side by side and behind one another, none hiding another's face.

    Args:
        people: who is in it; the same numbers and seed as in `face_picture` are the same people.
        seed: of everything; 0 or more.
        size: height and width of the photo, 32 or more.
        place: number of the photo: another one of the same people.

    Raises:
        BadOption: an option is outside its range, or the people do not fit with faces of 12 pixels.

    >>> photo = face_photo([0, 1, 2], size=128)
    >>> photo.boxes.shape, photo.people
    (torch.Size([3, 4]), (0, 1, 2))
    """
    _checked(size, place, *people)
    cells = max(1, int(np.ceil(np.sqrt(len(people)))))
    if size / cells / LFW < 12:
        raise BadOption(
            f"{len(people)} people on {size} pixels: their faces would be smaller than 12. Take a larger size."
        )
    rng = generator(Twin.FACES, seed, Part.TEST, place)
    canvas = ground(rng, size)
    spots = rng.permutation(cells * cells)[: len(people)]
    boxes, landmarks = np.zeros((len(people), 4), np.float32), np.zeros((len(people), 68, 2), np.float32)
    scale = 0.0
    for at in np.argsort(spots, kind="stable"):  # from the top down: those in front stand lower
        row, column = divmod(int(spots[at]), cells)
        scale = size / cells / 1.75 / BOX * float(rng.uniform(0.75, 1.0))
        x, y = (np.array([column, row]) + 0.5 + rng.uniform(-0.08, 0.08, 2)) * size / cells
        view = _view(rng, scale, (float(x), float(y)), turn=0.7)
        landmarks[at] = draw_head(_person(people[at], seed), view, canvas)
        boxes[at] = box(view)
    picture = developed(rng, _blurred(rng, canvas, scale))
    return Photo(picture, torch.from_numpy(boxes), torch.from_numpy(landmarks), tuple(people))


def write_people(
    folder: Path,
    people: int = 20,
    each: int = 4,
    pairs: int = 30,
    folds: int = 0,
    seed: int = 0,
    size: int = 96,
    frame: float = LFW,
    first: int = 0,
    tick: Tick | None = None,
) -> Path:
    """Write a folder like LFW's, `Ada_Alder/Ada_Alder_0001.png`, with people.txt and pairs.txt.

    Args:
        folder: made if it is not there; files of the same names are replaced.
        people: how many, 2 or more, 2 for each fold.
        each: pictures of each, 2 or more.
        pairs: of the same person, and as many of two people; with folds, in each fold.
        folds: 0 for a header with the number of pairs alone (View 1), else `folds<tab>pairs` (View 2): then nobody is
            in two folds.
        seed: of everything; 0 or more.
        size: height and width of a picture, 16 or more.
        frame: side of a picture in sides of the face's box.
        first: number of the first person.
        tick: called after every picture.

    Returns:
        The file of pairs.

    Raises:
        BadOption: an option is outside its range.
        OSError: a place cannot be written.
    """
    _checked(size, first, folds, pairs)
    if each < 2 or people < 2 * max(1, folds):
        raise BadOption(
            f"{people} people with {each} pictures in {folds} folds: 2 of each are needed, 2 people a fold."
        )
    names = [person_name(first + person) for person in range(people)]
    for person, name in enumerate(names):
        for place in range(each):
            picture = face_picture(first + person, place, seed, size, frame).picture
            content = io.BytesIO()
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(content, "png")
            write_aside(folder / name / f"{name}_{place + 1:04d}.png", content.getvalue())
            if tick is not None:
                tick(1)
    rng = generator(Twin.FACES, seed, Part.HELD_OUT, first)
    lines = [f"{folds}\t{pairs}" if folds else f"{pairs}"]
    listed = [f"{folds}"] if folds else []
    for group in np.array_split(np.arange(people), max(1, folds)):
        listed += [f"{len(group)}", *(f"{name}\t{each}" for name in sorted(names[person] for person in group))]
        for _ in range(pairs):
            one, other = rng.choice(each, 2, replace=False) + 1
            lines.append(f"{names[rng.choice(group)]}\t{one}\t{other}")
        for _ in range(pairs):
            a, b = rng.choice(group, 2, replace=False)
            lines.append(f"{names[a]}\t{rng.integers(each) + 1}\t{names[b]}\t{rng.integers(each) + 1}")
    for file, rows in (("people.txt", listed), ("pairs.txt", lines)):
        write_aside(folder / file, "".join(row + "\n" for row in rows).encode())
    return folder / "pairs.txt"


def _checked(size: int, *numbers: int) -> None:
    if size < SMALLEST_SIZE or min(numbers, default=0) < 0:
        raise BadOption(
            f"faces of size {size}, numbers {numbers}: the size is {SMALLEST_SIZE} or more, a number 0 or more."
        )


def _person(person: int, seed: int) -> Person:
    return born(generator(Twin.PEOPLE, seed, Part.TRAIN, person))


def _sample(person: int, place: int, seed: int, size: int, frame: float) -> Sample:
    face = face_picture(person, place, seed, size, frame)
    left, top, right, bottom = face.box.tolist()
    name = person_name(person)
    points = tuple((x, y) for x, y in face.landmarks.tolist())
    thing = Thing(person, (left, top, right, bottom), points=points)
    return Sample(face.picture, (person,), (thing,), f"{name}_{place + 1:04d}", group=name)


def _view(rng: np.random.Generator, scale: float, centre: tuple[float, float], turn: float = 1.0) -> View:
    light = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-0.8, 0.2), 0.8])
    return View(
        yaw=float(rng.triangular(-0.65, 0, 0.65) * turn),
        pitch=float(rng.triangular(-0.3, 0, 0.3) * turn),
        roll=float(rng.triangular(-0.3, 0, 0.3) * turn),
        scale=scale,
        centre=centre,
        smile=float(rng.uniform(-0.5, 1)),
        opened=float(max(0, rng.uniform(-1, 0.8))),
        lids=float(rng.uniform(0.7, 1.15)),
        light=light / np.linalg.norm(light),
        ambient=float(rng.uniform(0.45, 0.85)),
        clothes=rng.random(3, np.float32),
    )


def _blurred(rng: np.random.Generator, canvas: Floats, scale: float) -> Floats:
    """Out of focus by up to a fortieth of half a head, then in another colour and strength of light."""
    from scipy.ndimage import gaussian_filter

    spread = float(rng.uniform(0, 0.025)) * scale
    tint = rng.uniform(0.9, 1.1, 3).astype(np.float32) * np.float32(rng.uniform(0.75, 1.2))
    return np.asarray(gaussian_filter(canvas, (spread, spread, 0)) * tint, np.float32)
