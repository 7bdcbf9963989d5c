"""The chain from pictures to vectors, on drawn people and on scikit-image's astronaut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_people import found_pictures, side_by_side

from isotrain.faces.aligning import Aligner
from isotrain.faces.chain import STAGES, Chain, central, cutter_of
from isotrain.faces.parts import Found


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain.of()


def test_a_face_has_everything(chain: Chain) -> None:
    from skimage.data import astronaut

    picture = torch.from_numpy(np.ascontiguousarray(astronaut().transpose(2, 0, 1)))
    ((face,),) = chain.look([picture])
    left, top, right, bottom = face.box
    assert left < 225 < right and top < 120 < bottom  # her nose
    eyes = face.points[36:48].mean(0)
    assert abs(float(eyes[0]) - 222) < 12 and abs(float(eyes[1]) - 103) < 12
    assert face.crop.shape == (1, chain.embedder.size, chain.embedder.size) and face.crop.dtype == torch.uint8
    assert float(face.vector.norm()) == pytest.approx(1, abs=1e-5)
    assert face.confidence > 0.5 and not face.turned


def test_faces_of_a_photo_are_those_of_its_parts(chain: Chain) -> None:
    """A photo of three people gives what three photos give, and the photos may be looked at together."""
    one, two, three = (pictures[0] for pictures in list(found_pictures().values())[:3])
    apart = [faces[0] for faces in chain.look([one, two, three])]
    (together,) = chain.look([side_by_side(one, two, three)])
    assert len(together) == 3
    for place, face in enumerate(sorted(together, key=lambda face: face.box[0])):
        assert float(face.vector @ apart[place].vector) > 0.9
        assert face.box[0] - 160 * place == pytest.approx(apart[place].box[0], abs=4)


def test_nothing_gives_nothing(chain: Chain) -> None:
    blank = torch.full((3, 90, 120), 128, dtype=torch.uint8)
    assert chain.look([blank, blank]) == [[], []]
    assert chain.look([]) == []
    tiny = torch.zeros(1, 1, 1, dtype=torch.uint8)
    assert chain.look([tiny]) == [[]]


def test_grey_and_colour_agree(chain: Chain) -> None:
    picture = next(iter(found_pictures().values()))[0]
    grey = picture.float().mean(0, keepdim=True).round().to(torch.uint8)
    colour = grey.expand(3, -1, -1).contiguous()
    (one,), (other,) = (chain.look([some])[0] for some in (grey, colour))
    assert float(one.vector @ other.vector) > 0.999


def test_the_three_alignments_show_the_same_face() -> None:
    """Their crops differ, but are nearer to one another than to another person's."""
    (first, *_), (second, *_) = list(found_pictures().values())[:2]
    crops = {}
    for alignment in ("3d", "2d", "none"):
        cutter = cutter_of(Aligner(alignment, 64, 1))
        crops[alignment] = [cutter.cut([picture], central)[0][0].crop.float().flatten() for picture in (first, second)]

    def alike(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack((a, b)))[0, 1])

    for one, other in (("3d", "2d"), ("2d", "none")):
        assert alike(crops[one][0], crops[other][0]) > alike(crops[one][0], crops[other][1])


def test_a_face_turned_too_far_is_said_to_be() -> None:
    """Landmarks squeezed to a third of their width are no frontal face: the 2D crop is taken, and told."""
    from isotrain.faces.parts import Marked
    from isotrain.vision.facemodel import FaceModel

    model = FaceModel.load()
    straight = model.template(80)[None] + 20
    squeezed = straight * torch.tensor([0.3, 1.0])
    picture = torch.randint(0, 256, (1, 140, 140), dtype=torch.uint8)
    boxes = torch.tensor([[20.0, 20.0, 100.0, 100.0]] * 2)
    marked = Marked(torch.cat((straight, squeezed)), torch.ones(2))
    aligned = Aligner("3d", 64, 1).crops([picture, picture], boxes, marked)
    assert aligned.turned.tolist() == [False, True]
    upright = Aligner("2d", 64, 1).crops([picture, picture], boxes, marked)
    assert torch.equal(aligned.crops[1], upright.crops[1])
    assert not torch.equal(aligned.crops[0], upright.crops[0])


def test_seconds_are_counted(chain: Chain) -> None:
    chain.look([next(iter(found_pictures().values()))[0]])
    assert set(chain.seconds) == set(STAGES) and all(spent > 0 for spent in chain.seconds.values())


def test_the_central_face() -> None:
    boxes = torch.tensor([[0.0, 0.0, 30.0, 30.0], [35.0, 35.0, 65.0, 65.0], [48.0, 48.0, 52.0, 52.0]])
    picture = torch.zeros(1, 100, 100, dtype=torch.uint8)
    assert central(picture, Found(boxes, torch.tensor([0.9, 0.8, 0.99]))).tolist() == [1]
    assert central(picture, Found(boxes[:0], torch.zeros(0))).tolist() == []
