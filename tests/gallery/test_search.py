"""The search in memory gives what comparing everything gives, and people come once, by their nearest face."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import DIMS, GIVEN, MODEL, face, photo, unit

from isotrain.errors import BadData, BadOption
from isotrain.gallery import Group, NewFace, open_gallery
from isotrain.gallery.search import Matrix


def plainly(vectors, queries, k):
    """Slow and obvious: every similarity in float64, sorted; the older face where two are equal."""
    similarities = queries.astype(np.float64) @ vectors.astype(np.float64).T
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(similarities, order, 1)


def crowd(seed, people, each, dims, spread):
    """People as clusters on the sphere."""
    draw = np.random.default_rng(seed)
    vectors = np.repeat(unit(seed, people, dims), each, 0)
    vectors = vectors + spread / np.sqrt(dims) * draw.standard_normal(vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(
    seed=st.integers(0, 2**31),
    dims=st.sampled_from([1, 2, 3, 31, 128, 129]),
    k=st.integers(1, 12),
    spread=st.sampled_from([0.0, 1e-3, 0.3, 5.0]),
)
def test_it_is_exact(seed, dims, k, spread):
    vectors = crowd(seed, 40, 5, dims, spread)
    queries = np.concatenate([vectors[:3], unit(seed + 1, 9, dims)])
    matrix = Matrix(dims)
    for start in range(0, 200, 60):  # it grows in pieces
        matrix.add(np.arange(start, min(200, start + 60)), vectors[start : start + 60])
    faces, similarities = matrix.nearest(queries, k)
    expected, values = plainly(vectors, queries, k)
    assert np.allclose(similarities, values, atol=1e-6)
    # Where similarities differ by more than float32 can tell, the faces are those and in that order.
    gaps = np.abs(np.diff(plainly(vectors, queries, k + 1)[1], axis=1))
    clear = (gaps > 1e-5).all(1)
    assert np.array_equal(faces[clear], expected[clear])


@pytest.mark.parametrize("vector", ["one number", "equal numbers", "one spike"])
def test_it_is_exact_for_odd_vectors(vector):
    dims, draw = 64, np.random.default_rng(0)
    vectors = crowd(0, 100, 3, dims, 0.5)
    if vector == "one number":
        vectors[:64] = np.eye(64)
    elif vector == "equal numbers":
        vectors[:] = 1 / 8
    else:
        vectors[50] = 1e-4 * draw.standard_normal(dims)
        vectors[50, 3] = 1
    matrix = Matrix(dims)
    matrix.add(np.arange(300), vectors)
    faces, similarities = matrix.nearest(vectors[40:60], 7)
    expected, values = plainly(vectors, vectors[40:60], 7)
    assert np.allclose(similarities, values, atol=1e-6)
    assert (faces[:, 0] == expected[:, 0]).all()


def test_more_wanted_than_there_are():
    matrix = Matrix(4)
    assert matrix.nearest(unit(0, 2, 4), 3)[0].shape == (2, 0)
    matrix.add(np.array([5]), unit(1, 1, 4))
    assert matrix.nearest(unit(0, 2, 4), 3)[0].tolist() == [[5], [5]]


@pytest.fixture
def gallery(place):
    with open_gallery(place) as opened:
        yield opened


def in_one_photo_each(vectors, start=0):
    return [NewFace(photo(start + i), (0, 0, 9, 9), 0.5, vector) for i, vector in enumerate(vectors)]


def test_people_come_once_by_their_nearest_face(gallery):
    vectors = crowd(0, 6, 30, DIMS, 0.2)
    for i in range(5):
        faces = in_one_photo_each(vectors[30 * i : 30 * i + 30], 30 * i)
        gallery.enroll(f"{i}", faces, MODEL, GIVEN, today=GIVEN.on)
    gallery.add(in_one_photo_each(vectors[150:], 150), MODEL)
    queries = vectors[[7, 40, 155]]
    order, values = plainly(vectors[:150], queries, 150)
    for row, hits in zip(range(3), gallery.search(queries, k=4, model=MODEL), strict=True):
        everybody = list(dict.fromkeys(order[row] // 30))
        assert [hit.person.name for hit in hits] == [str(person) for person in everybody[:4]]
        assert [hit.similarity for hit in hits] == pytest.approx(
            [values[row][list(order[row] // 30).index(person)] for person in everybody[:4]], abs=1e-6
        )
    assert len(gallery.search(queries, k=9, model=MODEL)[0]) == 5
    hits = gallery.search(queries[2:], k=3, model=MODEL, of="faces")[0]
    assert hits[0].person is None and hits[0].similarity == pytest.approx(1, abs=1e-6)


def test_the_index_of_the_server_finds_nearly_all(postgres):
    vectors = crowd(1, 150, 5, 32, 0.8)
    with open_gallery(postgres) as gallery:
        ids = gallery.add(in_one_photo_each(vectors), MODEL)
        gallery.arrange([Group(ids[i : i + 5], new=True) for i in range(0, 750, 5)])
        gallery.reindex()
        gallery._database.rows("SET enable_seqscan = off")  # with so few the server would rather look at all of them
        queries = crowd(1, 150, 5, 32, 0.9)[::30]
        plan = gallery._database.rows(
            "EXPLAIN SELECT face FROM vectors ORDER BY vector::halfvec(32) <#> ?::vector::halfvec(32) LIMIT 5",
            (queries[0],),
        )
        assert "vectors_nearest" in str(plan)
        exact = gallery.search(queries, k=5, model=MODEL, of="faces")
        nearly = gallery.search(queries, k=5, model=MODEL, of="faces", exact=False)
        common = [
            len({hit.face for hit in one} & {hit.face for hit in other})
            for one, other in zip(exact, nearly, strict=True)
        ]
        assert np.mean(common) / 5 > 0.95
        assert nearly[0][0].similarity == pytest.approx(exact[0][0].similarity, abs=1e-6)
        assert gallery.search(queries[0], k=2, model=MODEL, exact=False)[0][0].person is not None


def test_vectors_too_long_for_an_index_are_searched_all_the_same(postgres):
    vectors = unit(0, 3, 4096)
    with open_gallery(postgres) as gallery:
        gallery.add(in_one_photo_each(vectors), "deep:1")
        for exact in (True, False):
            hits = gallery.search(vectors[1], 2, model="deep:1", of="faces", exact=exact)[0]
            assert [hit.similarity for hit in hits] == pytest.approx([1, max(vectors[1] @ vectors[[0, 2]].T)], abs=1e-5)


@pytest.mark.parametrize("words", [{"k": 0}, {"of": "photos"}])
def test_options_beyond_their_range(gallery, words):
    with pytest.raises(BadOption, match="search takes"):
        gallery.search(unit(1), model=MODEL, **words)


@pytest.mark.parametrize("vectors", [[], [[]], ["a"], [[[1.0]]], [[2.0, 0.0]]])
def test_what_is_no_vector(gallery, vectors):
    with pytest.raises(BadData, match="vector"):
        gallery.search(vectors, model=MODEL)


def test_tensors_are_vectors_too(gallery):
    import torch

    one = face("a")
    tensor = torch.from_numpy(unit(9))
    new = NewFace(one.photo, torch.tensor([1.0, 2, 30, 40]), 0.5, tensor, landmarks=torch.ones(68, 2))
    gallery.enroll("Ada", [new], MODEL, GIVEN, today=GIVEN.on)
    assert gallery.search(tensor[None], model=MODEL)[0][0].similarity == pytest.approx(1, abs=1e-6)
    assert gallery.faces("Ada")[0].box == (1, 2, 30, 40)
