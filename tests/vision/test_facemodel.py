"""The shipped face is symmetric and a face; a user's mesh is read, or refused with the line and the reason."""

import json

import pytest
import torch

from isotrain.errors import BadData, BadOption
from isotrain.vision.facemodel import FRAME_MIDDLE, FRAME_SIDE, OURS, FaceModel, to_crop
from isotrain.vision.landmarks import CHIN, MIRRORED, NOSE_TIP, OUTER_CORNERS, PARTS, interocular, mean_error
from isotrain.vision.similarity import affine, apply

MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return FaceModel.load()


def test_the_model_is_its_own_mirror_image(model):
    across = torch.cdist(model.vertices * MIRROR, model.vertices)
    assert across.min(1).values.max() < 1e-6
    partner = across.argmin(1)
    assert partner[model.landmarks].tolist() == model.landmarks[list(MIRRORED)].tolist()
    triangles = {frozenset(corners) for corners in model.triangles.tolist()}
    assert {frozenset(partner[list(corners)].tolist()) for corners in triangles} == triangles
    assert torch.equal(model.deviations, model.deviations[list(MIRRORED)])


def test_it_has_the_proportions_of_a_head(model):
    """In inter-ocular distances (about 9 cm): noses stand 3 to 6 cm before the eyes' corners, ears 5 to 9 behind."""
    points = model.points
    assert torch.allclose(points[list(OUTER_CORNERS)], torch.tensor([[-0.5, 0, 0], [0.5, 0, 0]]).double())
    assert 0.33 < points[NOSE_TIP, 2] < 0.66
    assert -1.0 < points[0, 2] < -0.55
    assert 1.1 < points[CHIN, 1] < 1.6
    assert points[list(PARTS["left brow"]), 1].max() < 0 < points[48, 1] < points[CHIN, 1]


def test_triangles_cover_the_frame_once_and_look_ahead(model):
    one, two, three = model.vertices[model.triangles].unbind(1)
    first, second = two - one, three - one
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    assert (area < 0).all()  # counter-clockwise with y up
    low, high = model.vertices[:, :2].amin(0), model.vertices[:, :2].amax(0)
    # Without holes or folds the areas add up to that of the rectangle around.
    assert torch.allclose(-area.sum() / 2, (high - low).prod(), rtol=1e-6)
    corner = torch.tensor(FRAME_MIDDLE).double()
    assert (low < corner - 0.6 * FRAME_SIDE / 1.2).all() and (high > corner + FRAME_SIDE / 2).all()


def test_the_frame_shows_brows_to_chin(model):
    template = model.template(100)
    assert template.min() > 0 and template.max() < 100
    assert template[list(PARTS["left brow"]), 1].min() > 10 and template[CHIN, 1] > 90
    wide = model.template(100, grow=2)
    assert torch.allclose(wide, 50 + (template - 50) / 2, atol=1e-4)


def test_the_2d_alignment_brings_the_template_to_itself_wherever_it_lies(model):
    matrix = torch.tensor([[0.0, -3.0, 7.0], [3.0, 0.0, 900.0]])
    points = apply(matrix, model.template(64)).repeat(2, 1, 1)
    points[1, list(PARTS["jaw"])] += 20  # does not count
    upright = model.upright(points, 64)
    assert upright.shape == (2, 2, 3)
    assert torch.allclose(upright[0], upright[1])
    assert torch.allclose(apply(upright[0], points[0]), model.template(64), atol=1e-2)


@pytest.mark.parametrize("size, grow", [(0, 1.0), (100, 0.0), (100, float("nan"))])
def test_crops_that_do_not_exist(size, grow):
    with pytest.raises(BadOption):
        to_crop(torch.zeros(1, 2), size, grow)


def test_a_saved_model_is_read_again(model, tmp_path):
    model.save(tmp_path / "face.obj", ["a face"])
    again = FaceModel.load(tmp_path / "face.obj")
    assert torch.allclose(again.vertices, model.vertices, atol=1e-4)
    assert torch.equal(again.triangles, model.triangles) and torch.equal(again.landmarks, model.landmarks)
    assert torch.allclose(again.deviations, model.deviations)
    assert (tmp_path / "face.obj").read_text().startswith("# a face\n")


def foreign(folder, model, landmarks="comment", change=lambda text: text):
    """The model as another program would write it: centimetres, off the origin, textures, points in disorder."""
    order = torch.randperm(len(model.vertices), generator=torch.Generator().manual_seed(3))
    place = order.argsort()
    points = 9 * model.vertices[order] * torch.tensor([1, -1, 1]) + torch.tensor([3, 4, 5])
    lines = ["mtllib skin.mtl", "o head"]
    lines += ["v " + " ".join(map(str, point)) + " 1.0" for point in points.tolist()] + ["vt 0 0", "vn 0 0 1"]
    lines += ["f " + " ".join(f"{place[corner] + 1}/1/1" for corner in corners) for corners in model.triangles.tolist()]
    numbers = (place[model.landmarks] + 1).tolist()
    if landmarks == "comment":
        lines.insert(0, "# landmarks " + " ".join(map(str, numbers)))
    if landmarks == "beside":
        (folder / "head.json").write_text(json.dumps({"landmarks": numbers}))
    (folder / "head.obj").write_text(change("\n".join(lines)))
    return folder / "head.obj"


@pytest.mark.parametrize("landmarks", ["comment", "beside"])
def test_a_foreign_mesh_comes_into_our_coordinates(model, tmp_path, landmarks):
    loaded = FaceModel.load(foreign(tmp_path, model, landmarks))
    assert torch.allclose(loaded.points, model.points, atol=1e-9)
    assert torch.allclose(loaded.template(152), model.template(152))
    assert loaded.deviations[:17].min() > loaded.deviations[17:].max()


def test_polygons_become_triangles_and_negative_numbers_count_back(model, tmp_path):
    text = foreign(tmp_path, model).read_text().splitlines()
    points = len(model.vertices)
    path = tmp_path / "quad.obj"
    path.write_text("\n".join([line for line in text if not line.startswith("f ")] + ["f 1 2 3 4", "f -1 -2 -3"]))
    triangles = FaceModel.load(path).triangles.tolist()
    assert triangles == [[0, 1, 2], [0, 2, 3], [points - 1, points - 2, points - 3]]


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda text: text.replace("# landmarks", "# marks"), "does not say which"),
        (lambda text: text.replace("# landmarks ", "# landmarks 1 "), "69 numbers"),
        (lambda text: text.replace("# landmarks ", "# landmarks 0 "), "line 1: point 0"),
        (lambda text: text.replace("o head", "v 1 2 nan"), "line 3: a point has three finite"),
        (lambda text: text.replace("o head", "v 1 2"), "line 3"),
        (lambda text: text.replace("o head", "v 1 2 x"), "line 3"),
        (lambda text: text.replace("o head", "f 1 2 3"), "line 3: point 1 does not exist"),
        (lambda text: text + "\nf 1 2", "three corners"),
        (lambda text: text + "\nf 1 2 999", "point 999 does not exist"),
        (lambda text: "\n".join(line for line in text.splitlines() if line[:2] != "f "), "no triangles"),
        (lambda text: text + "\n# deviations 1 2", "68 positive numbers"),
        (lambda text: "a picture", "no triangles"),
    ],
)
def test_a_malformed_mesh_is_refused_with_the_reason(model, tmp_path, change, says):
    with pytest.raises(BadData, match=says):
        FaceModel.load(foreign(tmp_path, model, change=change))


@pytest.mark.parametrize(
    "turned, says",
    [((1, -1, 1), "chin"), ((-1, 1, 1), "not to the left"), ((1, 1, -1), "nose")],
)
def test_a_mesh_that_looks_elsewhere_is_refused(model, tmp_path, turned, says):
    path = tmp_path / "turned.obj"
    FaceModel(model.vertices * torch.tensor(turned), model.triangles, model.landmarks, model.deviations).save(path)
    with pytest.raises(BadData, match=says):
        FaceModel.load(path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"landmarks": 5}', '{"landmarks": [0]}', "not json"])
def test_a_malformed_file_beside_is_refused(model, tmp_path, content):
    path = foreign(tmp_path, model, landmarks="none")
    path.with_suffix(".json").write_text(content)
    with pytest.raises(BadData, match=r"head\.json"):
        FaceModel.load(path)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(BadData, match=r"none\.obj"):
        FaceModel.load(tmp_path / "none.obj")
    (tmp_path / "bytes.obj").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadData, match=r"bytes\.obj cannot be read"):
        FaceModel.load(tmp_path / "bytes.obj")


@pytest.mark.data
@pytest.mark.slow
def test_the_recipe_makes_the_shipped_file(data_dir, tmp_path):
    import runpy

    recipe = runpy.run_path(str(OURS.parents[3] / "recipes" / "face_model.py"))
    recipe["main"](data_dir / "ytfaces" / "training_frames_keypoints.csv", tmp_path / "face.obj")
    again, shipped = FaceModel.load(tmp_path / "face.obj"), FaceModel.load()
    assert torch.allclose(again.vertices, shipped.vertices, atol=2e-4)
    assert torch.equal(again.triangles, shipped.triangles)


@pytest.mark.data
def test_the_shipped_model_explains_faces_it_was_not_made_from(data_dir):
    import csv

    with (data_dir / "ytfaces" / "test_frames_keypoints.csv").open(newline="") as file:
        rows = [[float(value) for value in row[1:]] for row in list(csv.reader(file))[1:]]
    points = torch.tensor(rows).view(-1, 68, 2) + 0.5
    model = FaceModel.load()
    fit = model.fit(points)
    solid = fit.residuals.norm(dim=-1).mean(1) / interocular(points)
    flat = mean_error(
        apply(affine(points, model.template(100)), points), model.template(100).expand(len(points), -1, -1)
    )
    assert solid.median() < 0.04 and not fit.doubtful.any()
    # The third dimension halves what a plane face leaves over.
    assert solid.median() < 0.55 * flat.median()
