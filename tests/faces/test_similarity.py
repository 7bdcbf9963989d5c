"""Similarities against slow obvious code; what learns, learns what it should; everything comes back from JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from isotrain.errors import BadCheckpoint, BadData, BadOption, UnknownName
from isotrain.faces.similarity import ChiSquare, Cosine, Discriminant, similarity_from
from isotrain.tasks.scores.verification import auc, roc

seeds = st.integers(0, 10_000)


def people(seed, number=40, each=6, dims=8, noise=0.6):
    """Vectors of people who differ in their first three numbers only, and in the length of the noise."""
    rng = np.random.default_rng(seed)
    spread = np.where(np.arange(dims) < 3, 1.0, 0.05)
    centres = rng.normal(size=(number, dims)) * spread
    vectors = np.repeat(centres, each, 0) + noise * rng.normal(size=(number * each, dims))
    return vectors, np.repeat(np.arange(number), each)


def some_pairs(seed, labels, count=600):
    rng = np.random.default_rng(seed)
    first = rng.integers(len(labels), size=count)
    second = np.where(
        np.arange(count) % 2 == 0, first // 6 * 6 + rng.integers(6, size=count), rng.integers(len(labels), size=count)
    )
    kept = first != second
    return first[kept], second[kept], (labels[first] == labels[second])[kept]


def fitted(kind):
    vectors, labels = people(0)
    first, second, same = some_pairs(0, labels)
    if kind == "chi-square":
        return ChiSquare().fitted(abs(vectors[first]), abs(vectors[second]), same)
    if kind == "halves":
        return ChiSquare(halves=True).fitted(vectors[first], vectors[second], same)
    return Discriminant.of_people(vectors, labels) if kind == "discriminant" else Cosine()


KINDS = ("cosine", "chi-square", "halves", "discriminant")


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_holds_the_pairs_and_is_symmetric(kind):
    similarity = fitted(kind)
    one, other = abs(people(1)[0][:5]), abs(people(2)[0][:7])
    matrix = similarity.matrix(one, other)
    assert matrix.shape == (5, 7)
    for i in range(5):
        assert np.allclose(similarity.pairs(np.repeat(one[i : i + 1], 7, 0), other), matrix[i])
    assert np.allclose(similarity.matrix(other, one), matrix.T)
    assert similarity.matrix(one[:0], other).shape == (0, 7) and similarity.matrix(one, other[:0]).shape == (5, 0)
    assert similarity.pairs(one[:0], one[:0]).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_from_json(kind):
    similarity = fitted(kind)
    again = similarity_from(json.loads(json.dumps(similarity.to_dict())))
    one = abs(people(1)[0][:5])
    assert np.array_equal(again.matrix(one, one), similarity.matrix(one, one))
    assert again.name == similarity.name


def test_chi_square_is_the_papers_formula():
    similarity = fitted("chi-square")
    f, g = abs(people(3)[0][:2])
    a, b = f / similarity.largest, g / similarity.largest
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    terms = sum(w * (x - y) ** 2 / (x + y) for w, x, y in zip(similarity.weights, a, b, strict=True))
    assert similarity.pairs(f[None], g[None])[0] == pytest.approx(len(f) * terms + similarity.offset)
    # Not fitted: minus the mean of the elements, 0 for a vector with itself.
    assert ChiSquare().pairs([[1.0, 0.0]], [[0.0, 1.0]])[0] == pytest.approx(-2.0)
    assert ChiSquare().pairs([[3.0, 4.0]], [[3.0, 4.0]])[0] == 0.0


@given(seed=seeds)
def test_what_has_learned_tells_strangers_apart_better(seed):
    vectors, labels = people(seed, noise=0.5)
    unseen, others = people(seed + 1, noise=0.5)
    first, second, same = some_pairs(seed, labels)
    one, other, answer = some_pairs(seed + 1, others)

    def area(similarity):
        return auc(roc(similarity.pairs(unseen[one], unseen[other]), answer))

    plain = area(Cosine())
    assert area(Discriminant.of_people(vectors, labels)) > plain
    assert area(ChiSquare(halves=True).fitted(vectors[first], vectors[second], same)) > area(ChiSquare(halves=True))


def test_the_discriminant_is_the_ratio_of_the_likelihoods():
    vectors, labels = people(4, dims=5)
    similarity = Discriminant.of_people(vectors, labels, shrink=0.2)
    # B and W in the coordinates of the basis are diag(between) and the identity: back to those of the vectors.
    back = np.linalg.inv(similarity.basis)
    within, between = back.T @ back, back.T @ np.diag(similarity.between) @ back
    u, v = (one / np.linalg.norm(one) for one in vectors[[0, 9]])
    mean, total = similarity.mean, within + between
    joint = np.block([[total, between], [between, total]])
    same = multivariate_normal.logpdf(np.concatenate([u, v]), np.tile(mean, 2), joint)
    apart = multivariate_normal.logpdf(u, mean, total) + multivariate_normal.logpdf(v, mean, total)
    assert similarity.pairs(vectors[[0]], vectors[[9]])[0] == pytest.approx(same - apart)


def test_the_moments_are_those_drawn_from():
    """Whitened within, diagonal between, and both known: people in one direction of three."""
    rng = np.random.default_rng(0)
    people_n = np.repeat(np.arange(3000), 4)
    direction = np.array([0.0, 0.0, 1.0])
    # Far from the origin, so that bringing the vectors to length 1 is nearly linear.
    vectors = (
        np.array([100.0, 0, 0]) + rng.normal(size=(3000, 1)).repeat(4, 0) * 2 * direction + rng.normal(size=(12000, 3))
    )
    similarity = Discriminant.of_people(vectors, people_n, directions=1, shrink=0.0)
    assert similarity.between[0] == pytest.approx(4.0, rel=0.1)
    # Along the mean hardly anything varies at length 1, so that this coordinate of the basis is free.
    assert abs(similarity.basis[1, 0] / similarity.basis[2, 0]) < 0.05


def test_directions_are_the_best():
    vectors, labels = people(0)
    every, few = Discriminant.of_people(vectors, labels), Discriminant.of_people(vectors, labels, directions=3)
    assert np.array_equal(few.between, every.between[:3]) and (np.diff(every.between) <= 0).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ChiSquare().pairs([[1.0, -1.0]], [[1.0, 1.0]]), "50% of these are"),
        (lambda: fitted("chi-square").pairs(np.ones((1, 9)), np.ones((1, 9))), "of another model"),
        (lambda: fitted("discriminant").pairs(np.ones((1, 9)), np.ones((1, 9))), "of another model"),
        (lambda: Cosine().pairs([[np.nan, 1.0]], [[1.0, 1.0]]), "face 0 holds"),
        (lambda: Cosine().pairs([1.0], [1.0]), "are not"),
        (lambda: ChiSquare().fitted([[1.0]], [[1.0]], [True]), "one kind is missing"),
        (lambda: Discriminant.of_people([[1.0, 0], [0, 1]], [0, 1]), "2 vectors of 2 people"),
        (lambda: Discriminant.of_people([[1.0, 0], [0, 1]], [0, 0]), "2 vectors of 1 people"),
    ],
)
def test_bad_vectors(make, words):
    with pytest.raises(BadData, match=words):
        make()


def test_bad_options():
    with pytest.raises(BadOption, match="penalty is 0"):
        ChiSquare(penalty=0).fitted([[1.0]], [[1.0]], [True])
    for options in ({"shrink": 2.0}, {"directions": 0}, {"directions": 9}):
        with pytest.raises(BadOption, match="shrink"):
            Discriminant.of_people(*people(0), **options)


def test_bad_files():
    with pytest.raises(UnknownName, match="cosinus"):
        similarity_from({"kind": "cosinus"})
    with pytest.raises(BadCheckpoint, match="chi-square similarity is not whole"):
        similarity_from({"kind": "chi-square"})
