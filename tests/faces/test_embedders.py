"""Embedders by path: the pipeline that is described is the one that runs, a guess is announced, nonsense is refused."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_faces import means_model
from torch import nn

from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadCheckpoint, BadData, BadOption, MissingExtra, NotFinite
from isotrain.faces import embedders, onnx_model
from isotrain.faces.embedders import embedder_named
from isotrain.tasks.faces import Faces
from isotrain.train.rundir import RunFolder, load_run

SIDECAR = {"isotrain_embedder": 1, "channels": "rgb", "mean": 127.5, "std": 127.5, "alignment": "five"}
EYE = np.eye(3, dtype=np.float32)
COLOUR = torch.tensor([1.0, 0.5, 0.25])  # red, green, blue of a crop


def sidecar(path, **changes):
    said = {key: value for key, value in (SIDECAR | changes).items() if value is not ...}
    path.with_suffix(".json").write_text(json.dumps(said))
    return path


def crops(n=1, size=8, colour=COLOUR):
    return colour.view(1, -1, 1, 1).expand(n, -1, size, size).clone()


def silent(words):
    raise AssertionError(f"nothing was to be told: {words}")


def unit(numbers):
    numbers = torch.as_tensor(numbers, dtype=torch.float64)
    return (numbers / numbers.norm()).float()


# --- the pipeline ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({}, [1.0, 0.0, -0.5]),
        ({"channels": "bgr"}, [-0.5, 0.0, 1.0]),
        ({"mean": 0, "std": 1}, [255.0, 127.5, 63.75]),
        ({"mean": 0, "std": 255}, [1.0, 0.5, 0.25]),
        ({"mean": [255, 0, 63.75], "std": [1, 255, 2]}, [0.0, 0.5, 0.0]),
        ({"mean": [63.75, 0, 0], "std": 255, "channels": "bgr"}, [0.0, 0.5, 1.0]),
    ],
)
@pytest.mark.parametrize("nhwc", [False, True])
def test_the_model_is_given_what_the_sidecar_says(tmp_path, changes, given, nhwc):
    path = sidecar(means_model(tmp_path / "some.onnx", EYE, nhwc=nhwc), **changes)
    embedder = embedder_named(str(path), tell=silent)
    assert (embedder.size, embedder.channels, embedder.dims, embedder.alignment) == (8, 3, 3, "five")
    vectors = embedder.embed(crops(5))
    assert vectors.dtype == torch.float32 and vectors.shape == (5, 3)
    assert torch.allclose(vectors, unit(given).expand(5, 3), atol=1e-6)


def test_grey_and_half_precision(tmp_path):
    weight = np.array([[3.0, 4.0]])
    path = means_model(tmp_path / "some.onnx", weight, kind=TensorProto.FLOAT16)
    embedder = embedder_named(sidecar(path, channels="grey", mean=0, std=255, alignment="3d"), tell=silent)
    assert (embedder.channels, embedder.alignment) == (1, "3d")
    assert torch.allclose(embedder.embed(torch.rand(2, 1, 8, 8)), torch.tensor([0.6, 0.8]), atol=1e-3)


def test_free_sizes_are_said_by_the_sidecar(tmp_path):
    path = means_model(tmp_path / "some.onnx", EYE, size="side", declared="d")
    with pytest.raises(BadData, match="'size'"):
        embedder_named(sidecar(path))
    embedder = embedder_named(sidecar(path, size=6, enlarge=1.3, alignment="none", output="y"), tell=silent)
    assert (embedder.size, embedder.dims, embedder.enlarge) == (6, 3, 1.3)
    assert embedder.embed(torch.zeros(0, 3, 6, 6)).shape == (0, 3)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_filled_and_told(tmp_path, batch):
    told = []
    path = sidecar(means_model(tmp_path / "some.onnx", EYE, batch=batch), mean=0)
    embedder = embedder_named(path, tell=told.append)
    assert len(told) == 1 and "at a time" in told[0]
    many = torch.rand(6, 3, 8, 8)
    expected = nn.functional.normalize(many.mean((2, 3)))
    assert torch.allclose(embedder.embed(many), expected, atol=1e-5)


def test_many_faces_go_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "CHUNK", 4)
    embedder = embedder_named(sidecar(means_model(tmp_path / "some.onnx", EYE), mean=0), tell=silent)
    many = torch.rand(9, 3, 8, 8)
    assert torch.allclose(embedder.embed(many), nn.functional.normalize(many.mean((2, 3))), atol=1e-5)


# --- bound to the model ----------------------------------------------------------------------------------------------


def test_id_hangs_on_weights_and_pipeline_and_nothing_else(tmp_path):
    def id_of(folder, weight=EYE, **changes):
        return embedder_named(sidecar(means_model(tmp_path / folder / "some.onnx", weight), **changes)).id

    first = id_of("a")
    assert first.startswith("some-") and len(first) == len("some-") + 16
    assert id_of("b") == first  # another place
    assert id_of("c", mean=[127.5] * 3, layout="nchw", size=8, batch=32, compare="euclidean") == first  # said in full
    others = [
        id_of("d", weight=EYE * 2),
        *(id_of("d", **{key: value}) for key, value in (
            ("channels", "bgr"), ("mean", 127), ("std", [1, 2, 3]), ("alignment", "2d"),
        )),
        id_of("d", alignment="none", enlarge=1.1), id_of("d", alignment="none", enlarge=1.2),
    ]  # fmt: skip
    assert len({first, *others}) == 1 + len(others)
    assert id_of("e", name="other").removeprefix("other-") == first.removeprefix("some-")


# --- guesses ---------------------------------------------------------------------------------------------------------


def drawn(planes, dims):
    return np.random.default_rng(0).normal(size=(planes, dims)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "size", "dims", "scale", "expected"),
    [
        ("w600k_mbf.onnx", 112, 512, None, ("five", 127.5, 127.5)),
        ("anything.onnx", 112, 512, None, ("five", 127.5, 127.5)),
        ("arcfaceresnet100.onnx", 112, 512, (127.5, 1 / 128), ("five", 0.0, 1.0)),
        ("mobilefacenet.onnx", 112, 128, None, ("five", 127.5, 128.0)),
        ("face_recognition_sface_2021dec.onnx", 112, 128, (127.5, 1 / 128), ("five", 0.0, 1.0)),
        ("dlib_resnet.onnx", 150, 128, None, ("dlib", 122.782, 256.0)),
    ],
)
def test_a_guess_is_right_announced_and_can_be_written_down(tmp_path, name, size, dims, scale, expected):
    told = []
    path = means_model(tmp_path / name, drawn(3, dims), size=size, scale=scale)
    guessed = embedder_named(path, tell=told.append)
    assert (guessed.alignment, guessed.pipeline.mean[0], guessed.pipeline.std[0]) == expected
    assert guessed.pipeline.channels == "rgb" and guessed.size == size and guessed.dims == dims
    assert len(told) == 1 and path.with_suffix(".json").name in told[0]
    path.with_suffix(".json").write_text(told[0][told[0].index("{") : told[0].index("}") + 1])
    assert embedder_named(path, tell=silent).id == guessed.id


def test_a_guess_warns_where_nobody_listens(tmp_path):
    path = means_model(tmp_path / "buffalo_l" / "model.onnx", drawn(3, 512), size=112)
    with pytest.warns(UserWarning, match="ArcFace"):
        embedder_named(path)


@pytest.mark.parametrize(("size", "dims"), [(112, 128), (160, 512), (150, 512)])
def test_what_cannot_be_guessed_is_asked_for(tmp_path, size, dims):
    path = means_model(tmp_path / "model.onnx", drawn(3, dims), size=size)
    with pytest.raises(BadOption, match=r"no family.*model\.json") as raised:
        embedder_named(path)
    example = str(raised.value)
    path.with_suffix(".json").write_text(example[example.index("{") : example.rindex("}") + 1])
    assert embedder_named(path, tell=silent).size == size


def test_what_isotrain_exported_is_asked_for_as_a_run(tmp_path):
    card = json.dumps({"task": "faces", "size": 112, "channels": 3, "alignment": "3d", "classes": []})
    path = means_model(tmp_path / "arcface.onnx", drawn(3, 512), size=112, card=card)
    with pytest.raises(BadOption, match=r"'faces'.*folder"):
        embedder_named(path)
    assert embedder_named(sidecar(path), tell=silent).alignment == "five"
    means_model(path, drawn(3, 512), size=112, card="a card of someone else's")
    assert embedder_named(path, tell=silent).dims == 512


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"isotrain_embedder": 2}, "isotrain_embedder.*2"),
        ({"isotrain_embedder": True}, "isotrain_embedder"),
        ({"mean": ...}, "does not say 'mean'"),
        ({"alignement": "five"}, "'alignement'.*'alignment'"),
        ({"channels": "RGB"}, "'RGB'.*rgb, bgr, grey"),
        ({"alignment": ["five"]}, "alignment"),
        ({"channels": "grey"}, "1 channels.*fit"),
        ({"layout": "nhwc"}, "nhwc"),
        ({"mean": [1, 2]}, "'mean'.*3 of them"),
        ({"mean": "127"}, "'mean'"),
        ({"std": 0}, "'std'.*above 0"),
        ({"std": float("nan")}, "'std'"),
        ({"size": 9}, "'size' is 9.*8"),
        ({"size": 8.0}, "'size'"),
        ({"enlarge": 2}, "'enlarge'.*no meaning"),
        ({"enlarge": 20, "alignment": "none"}, "'enlarge'"),
        ({"name": "two\nlines"}, "'name'"),
        ({"output": "z"}, "'z'.*y"),
        ({"batch": 0}, "'batch'"),
    ],
)
def test_a_wrong_sidecar_is_named_with_its_field(tmp_path, changes, words):
    path = sidecar(means_model(tmp_path / "some.onnx", EYE), **changes)
    with pytest.raises(BadData, match=f"(?s)some.json.*{words}"):
        embedder_named(path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"a"', "\x00"])
def test_a_sidecar_that_is_no_description(tmp_path, content):
    path = means_model(tmp_path / "some.onnx", EYE)
    path.with_suffix(".json").write_text(content)
    with pytest.raises(BadData, match=r"some\.json"):
        embedder_named(path)


def test_no_model(tmp_path):
    path = means_model(tmp_path / "some.onnx", EYE)
    whole = sidecar(path).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no model at all"):
        path.write_bytes(content)
        with pytest.raises(BadCheckpoint, match=r"some\.onnx"):
            embedder_named(path)
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        embedder_named(tmp_path / "missing.onnx")
    with pytest.raises(BadOption, match=r"'buffalo_l' does not exist.*downloaded"):
        embedder_named("buffalo_l")
    (tmp_path / "weights.pt").write_bytes(whole)
    with pytest.raises(BadOption, match="neither"):
        embedder_named(tmp_path / "weights.pt")


def test_weights_in_another_file_are_not_opened(tmp_path):
    path = sidecar(means_model(tmp_path / "some.onnx", drawn(3, 600)))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(BadCheckpoint, match="same file"):
        embedder_named(path)


def test_a_model_whose_batch_is_fixed_though_it_says_otherwise(tmp_path):
    path = sidecar(means_model(tmp_path / "some.onnx", EYE), mean=0)
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "row"))
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Reshape", ["before", "row"], ["y"]))
    onnx.save(model, path)
    embedder = embedder_named(path, tell=silent)
    assert embedder.embed(crops(1)).shape == (1, 3)
    with pytest.raises(BadCheckpoint, match=r'gives \[1, 6\] for 2 faces.*"batch": 1'):
        embedder.embed(crops(2))
    slow = embedder_named(sidecar(path, mean=0, batch=1), tell=lambda words: None)
    assert torch.allclose(slow.embed(crops(2)), unit(COLOUR).expand(2, 3), atol=1e-6)
    assert slow.id == embedder.id


def test_a_model_that_does_not_run(tmp_path):
    path = sidecar(means_model(tmp_path / "some.onnx", EYE))
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 7]), "row"))
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Reshape", ["before", "row"], ["y"]))
    onnx.save(model, path)
    with pytest.raises(BadCheckpoint, match=r"does not run on \[1, 3, 8, 8\]"):
        embedder_named(path)


def test_no_vector_or_several(tmp_path):
    path = means_model(tmp_path / "some.onnx", EYE, second="z")
    with pytest.raises(BadOption, match=r"several of which.*output"):
        embedder_named(sidecar(path))
    assert embedder_named(sidecar(path, output="z"), tell=silent).dims == 3
    graph = onnx.load(path)
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8]))
    onnx.save(graph, path)
    with pytest.raises(BadOption, match="none of which"):
        embedder_named(sidecar(path))
    with pytest.raises(BadOption, match="not one vector"):
        embedder_named(sidecar(path, output="x"))


@pytest.mark.parametrize(
    ("weight", "words"),
    [(EYE * np.nan, "2 of 2.*not finite"), (EYE + np.float32(np.inf), "not finite"), (EYE * 0, "all zeros")],
)
def test_vectors_that_say_nothing_let_nobody_in(tmp_path, weight, words):
    embedder = embedder_named(sidecar(means_model(tmp_path / "some.onnx", weight), mean=0), tell=silent)
    with pytest.raises(NotFinite, match=f"some.onnx.*{words}"):
        embedder.embed(crops(2))


def test_one_bad_face_of_many_is_named(tmp_path):
    embedder = embedder_named(sidecar(means_model(tmp_path / "some.onnx", EYE), mean=0), tell=silent)
    faces = crops(5)
    faces[3] = 0
    with pytest.raises(NotFinite, match=r"1 of 5.*face 3"):
        embedder.embed(faces)


@pytest.mark.parametrize(
    ("faces", "words"),
    [
        (torch.rand(1, 3, 9, 8), "align"),
        (torch.rand(1, 1, 8, 8), "3, 8, 8"),
        (torch.rand(3, 8, 8), "3, 8, 8"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "floating"),
        (torch.full((1, 3, 8, 8), 255.0), "0 to 1"),
        (torch.full((1, 3, 8, 8), float("nan")), "0 to 1"),
    ],
)
def test_crops_that_do_not_fit(tmp_path, faces, words):
    embedder = embedder_named(sidecar(means_model(tmp_path / "some.onnx", EYE)), tell=silent)
    with pytest.raises(BadData, match=words):
        embedder.embed(faces)


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_missing_packages_are_named(tmp_path, monkeypatch, package):
    path = means_model(tmp_path / "arcface.onnx", drawn(3, 512), size=112)
    for name in [n for n in sys.modules if n == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"isotrain\[export\]"):
        embedder_named(path)
    monkeypatch.undo()
    importlib.import_module(package)


# --- isotrain's own runs ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people():
    """Crops of three people, no faces at all: only what the task's net is made of counts."""
    pictures = [torch.randint(0, 256, (1, 32, 32), dtype=torch.uint8) for _ in range(6)]
    samples = [Sample(picture, labels=(n // 2,), name=f"p{n}") for n, picture in enumerate(pictures)]
    return Dataset(("a", "b", "c"), samples)


@pytest.fixture
def run(tmp_path, people):
    def write(folder="run", seed=0, without=None, task="faces", weights=None, **options):
        made = Faces(Faces.plan(people, {"size": 32, "dims": 5, "width": 0.25, **options}))
        torch.manual_seed(seed)
        net = made.net().eval()
        with torch.no_grad():
            if weights is not None:
                for parameter in net.parameters():
                    parameter.fill_(weights)
        path = RunFolder(tmp_path / folder)
        path.write_weights(net)
        path.write_card(made, {}, {})
        document = json.loads((tmp_path / folder / "card.json").read_text())
        document["task"] = task
        document["card"].pop(without, None)
        (tmp_path / folder / "card.json").write_text(json.dumps(document))
        return tmp_path / folder

    return write


def test_a_run_of_faces(run, monkeypatch):
    monkeypatch.setattr(embedders, "CHUNK", 2)
    path = run()
    embedder = embedder_named(path, tell=silent)
    assert (embedder.size, embedder.channels, embedder.dims, embedder.alignment) == (32, 1, 5 + 192, "3d")
    faces = torch.rand(5, 1, 32, 32)
    task, net, _ = load_run(path)
    vectors = embedder.embed(faces)
    assert torch.allclose(vectors, task.embed(net, faces), atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(5)) and not vectors.requires_grad
    assert embedder.embed(faces[:0]).shape == (0, embedder.dims)
    with pytest.raises(BadData, match="1, 32, 32"):
        embedder.embed(torch.rand(1, 3, 32, 32))


def test_a_run_is_bound_to_its_weights_and_its_card(run):
    first = embedder_named(run()).id
    assert first.startswith("faces-") and embedder_named(run("moved")).id == first
    assert embedder_named(run(alignment="2d")).id != first
    assert embedder_named(run(seed=1)).id != first


def test_a_run_that_is_none(run, tmp_path):
    with pytest.raises(BadOption, match=r"'classify'.*'faces'"):
        embedder_named(run(task="classify"))
    with pytest.raises(BadCheckpoint, match="alignment"):
        embedder_named(run(without="alignment"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadCheckpoint, match="no run"):
        embedder_named(tmp_path / "empty")
    path = run()
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        embedder_named(path)
    with pytest.raises(NotFinite, match="not finite"):
        embedder_named(run(weights=float("nan"))).embed(torch.rand(1, 1, 32, 32))
