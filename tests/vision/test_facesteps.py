"""The sheet of steps shows eight panels for any face, also one cut by the border."""

import pytest
import torch

from isotrain.errors import BadData
from isotrain.vision.camera import turn
from isotrain.vision.facemodel import FaceModel
from isotrain.vision.facesteps import CELL, steps
from isotrain.vision.landmarks import box_around


@pytest.mark.parametrize("channels, shift", [(1, 100.0), (3, 5.0)])
def test_a_sheet_of_eight(channels, shift):
    model = FaceModel.load()
    picture = torch.randint(0, 256, (channels, 200, 200), dtype=torch.uint8)
    points = (40 * model.points @ turn(torch.tensor([[30.0, 0.0, 5.0]]))[0, :2].double().mT + shift).float()
    sheet = steps(picture, box_around(points, 1.2), points, model)
    assert sheet.width > 4 * CELL and sheet.height > 2 * CELL
    assert len(sheet.resize((64, 32)).getcolors(4096)) > 200


def test_what_is_no_face_is_refused():
    model = FaceModel.load()
    with pytest.raises(BadData, match="landmarks"):
        steps(torch.zeros(3, 9, 9, dtype=torch.uint8), torch.zeros(4), torch.zeros(5, 2), model)
