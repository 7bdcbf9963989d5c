"""Clusters of an album: constraints are always kept, names and numbers stay, the merging is that of slow code."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.faces.album import ALONE, Clustering, cluster_album
from isotrain.faces.linkage import linked

seeds = st.integers(0, 100_000)
links = st.sampled_from(["average", "complete"])


def similarities(seed, number):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(number, 3)) + 2 * rng.normal(size=(5, 3))[rng.integers(5, size=number)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = (vectors @ vectors.T).astype(np.float32)
    return (alike + alike.T) / 2


def slow(alike, apart, together, threshold, link):
    """Look at all pairs of groups, merge the two most alike, look again."""
    groups = [list(np.flatnonzero(together == group)) for group in sorted(set(together.tolist()))]
    while True:
        best, pair = -np.inf, None
        for i in range(len(groups)):
            for j in range(i + 1, len(groups)):
                block = np.ix_(groups[i], groups[j])
                score = (
                    (alike[block].astype(float).mean() if link == "average" else alike[block].min())
                    if not apart[block].any()
                    else -np.inf
                )
                if score > best:
                    best, pair = score, (i, j)
        if pair is None or best < threshold:
            break
        groups[pair[0]] += groups.pop(pair[1])
    answer = np.zeros(len(alike), int)
    for number, group in enumerate(sorted(groups, key=min)):
        answer[group] = number
    return answer


@given(seed=seeds, number=st.integers(1, 30), link=links, threshold=st.floats(-0.5, 0.95))
def test_merging_is_that_of_slow_code(seed, number, link, threshold):
    alike, rng = similarities(seed, number), np.random.default_rng(seed)
    apart = rng.random((number, number)) < 0.15
    apart |= apart.T
    together = np.arange(number)
    for at in range(1, number):
        if rng.random() < 0.2 and not apart[at, together == together[at - 1]].any():
            together[at] = together[at - 1]
    same = together[:, None] == together
    apart &= ~same
    assert np.array_equal(
        linked(alike, apart, together, threshold, link), slow(alike, apart, together, threshold, link)
    )


@given(seed=seeds, number=st.integers(2, 80), link=links, threshold=st.floats(-0.5, 0.95))
def test_without_constraints_it_is_scipys(seed, number, link, threshold):
    alike = similarities(seed, number)
    ours = linked(alike, np.zeros((number, number), bool), np.arange(number), threshold, link)
    theirs = fcluster(linkage(squareform(1.0 - alike.astype(float), checks=False), link), 1 - threshold, "distance")
    assert adjusted_rand_score(theirs, ours) == 1.0


def album(seed, number=60, people=6, noise=0.6, dims=8):
    rng = np.random.default_rng(seed)
    who = rng.integers(people, size=number)
    vectors = rng.normal(size=(people, dims))[who] + noise * rng.normal(size=(number, dims))
    return vectors, who, rng.integers(number // 2, size=number)


def hand_made(seed, photos, number):
    """Names and refusals at random, as contradictory as is allowed."""
    rng = np.random.default_rng(seed + 1)
    names: list[str | None] = [None] * number
    taken = set()
    for at in rng.permutation(number)[: number // 3]:
        name = f"name {rng.integers(4)}"
        if (name, photos[at]) not in taken:
            names[at] = name
            taken.add((name, photos[at]))
    links, refused = [], []
    for _ in range(number // 4):
        a, b = (int(v) for v in rng.choice(number, 2, replace=False))
        if names[a] is None or names[a] != names[b]:
            links.append((a, b))
        at, name = int(rng.integers(number)), f"name {rng.integers(5)}"
        if names[at] != name:
            refused.append((at, name))
    return names, links, refused


def assert_kept(found, photos, names, not_links, not_names):
    cluster, at = found.cluster, {face: place for place, face in enumerate(found.faces.tolist())}
    for own in set(cluster.tolist()) - {ALONE}:
        inside = np.flatnonzero(cluster == own)
        assert len({photos[place] for place in inside}) == len(inside), "two faces of one photo"
        hand = {names[place] for place in inside} - {None}
        assert len(hand) <= 1, "two names in one cluster"
        if hand:
            assert found.names[own] == hand.pop()
    for name in set(names) - {None}:
        together = {int(cluster[place]) for place, other in enumerate(names) if other == name}
        assert len(together) == 1 and ALONE not in together, "one name in two clusters"
    for a, b in not_links:
        assert cluster[at[a]] == ALONE or cluster[at[a]] != cluster[at[b]]
    for face, name in not_names:
        assert found.name_of(face) != name
    assert len(set(found.names.values())) == len(found.names), "a name for two clusters"
    assert set(found.names) <= set(cluster.tolist()) and max(cluster.tolist(), default=-1) < found.next_id


@given(seed=seeds, threshold=st.floats(-0.9, 0.95), link=links)
def test_what_was_said_by_hand_is_always_kept(seed, threshold, link):
    vectors, _, photos = album(seed)
    names, not_links, not_names = hand_made(seed, photos, len(vectors))
    said = {"names": names, "not_links": not_links, "not_names": not_names}
    found = cluster_album(vectors, photos, threshold, link=link, **said)
    assert_kept(found, photos, names, not_links, not_names)


@given(seed=seeds, threshold=st.floats(-0.5, 0.9), later=st.floats(-0.5, 0.9))
def test_it_is_kept_through_a_second_clustering_too(seed, threshold, later):
    """More photos, some deleted, other things said by hand, another threshold."""
    vectors, _, photos = album(seed, 90)
    rng = np.random.default_rng(seed)
    faces = rng.permutation(1000)[:90]
    first, second = np.arange(60), np.sort(rng.permutation(90)[:70])
    names, *_ = hand_made(seed, photos[first], 60)
    before = cluster_album(vectors[first], photos[first], threshold, faces[first], names)
    names, links, refused = hand_made(seed + 9, photos[second], 70)
    links = [(int(faces[second][a]), int(faces[second][b])) for a, b in links]
    refused = [(int(faces[second][at]), name) for at, name in refused]
    after = cluster_album(vectors[second], photos[second], later, faces[second], names, links, refused, before)
    assert_kept(after, photos[second], names, links, refused)
    # New clusters never take the number of one that is gone.
    fresh = set(after.cluster.tolist()) - set(before.cluster.tolist()) - {ALONE}
    assert all(cluster >= before.next_id for cluster in fresh)


@given(seed=seeds)
def test_the_order_of_the_faces_does_not_matter(seed):
    vectors, _, photos = album(seed)
    order = np.random.default_rng(seed).permutation(60)
    plain, turned = cluster_album(vectors, photos, 0.5), cluster_album(vectors[order], photos[order], 0.5, faces=order)
    together = plain.cluster[order]
    alone = turned.cluster == ALONE
    assert np.array_equal(alone, together == ALONE)
    assert adjusted_rand_score(turned.cluster[~alone], together[~alone]) == 1.0 or alone.all()


def clear(*people, dims=6):
    """Vectors of people who are at right angles to one another, each a little turned."""
    rng = np.random.default_rng(0)
    return np.eye(dims)[list(people)] + 0.05 * rng.normal(size=(len(people), dims))


def test_people_are_found_and_singles_left_alone():
    found = cluster_album(clear(0, 1, 0, 2, 1, 0), range(6), 0.5)
    assert found.cluster.tolist() == [0, 1, 0, ALONE, 1, 0] and found.next_id == 2
    assert found.members(0).tolist() == [0, 2, 5] and found.name_of(3) is None


def test_a_name_is_given_to_the_cluster_and_to_a_single():
    found = cluster_album(clear(0, 1, 0, 2), range(4), 0.5, names=[None, None, "Ada", "Ben"])
    assert found.name_of(0) == "Ada" and found.name_of(3) == "Ben" and found.name_of(1) is None


def test_two_alike_in_one_photo_are_two_people():
    found = cluster_album(clear(0, 0, 0), ["a", "a", "b"], 0.5)
    assert len(set(found.cluster.tolist())) == 2


def test_new_photos_keep_numbers_and_names():
    before = cluster_album(clear(0, 1, 0, 1), range(4), 0.5, faces=[10, 11, 12, 13], names=["Ada", None, None, None])
    # First come two of a third person: they must not be number 0 now.
    after = cluster_album(clear(2, 2, 0, 1, 0, 1, 1), range(7), 0.5, [20, 21, 10, 11, 12, 13, 22], previous=before)
    assert after.cluster.tolist() == [2, 2, 0, 1, 0, 1, 1]
    assert after.names == {0: "Ada"}, "kept though nobody bears it by hand any more"
    assert after.next_id == 3


def test_the_larger_part_keeps_the_number():
    before = Clustering(np.arange(6), np.zeros(6, np.int64), {0: "Ada"}, 1)
    found = cluster_album(clear(1, 1, 0, 0, 0, 0), range(6), 0.5, previous=before)
    assert found.cluster.tolist() == [1, 1, 0, 0, 0, 0] and found.names == {0: "Ada"}
    # But a name made by hand goes first.
    named = cluster_album(clear(1, 1, 0, 0, 0, 0), range(6), 0.5, names=["Ada"] + [None] * 5, previous=before)
    assert named.cluster.tolist() == [0, 0, 1, 1, 1, 1] and named.names == {0: "Ada"}


def test_a_face_that_was_taken_out_stays_out():
    vectors = clear(0, 0, 0, 0)
    before = cluster_album(vectors, range(4), 0.5, names=["Ada", None, None, None])
    assert before.name_of(2) == "Ada"
    out = cluster_album(vectors, range(4), 0.5, not_names=[(2, "Ada")], previous=before)
    assert out.name_of(2) is None and out.name_of(3) == "Ada" == out.name_of(0)
    # Most of a cluster taken out, and together: a new one.
    out = cluster_album(vectors, range(4), 0.5, not_names=[(1, "Ada"), (2, "Ada"), (3, "Ada")], previous=before)
    assert out.cluster.tolist() == [0, 1, 1, 1] and out.names == {0: "Ada"}


def test_renamed_by_hand():
    before = cluster_album(clear(0, 0), range(2), 0.5, names=["Ada", None])
    after = cluster_album(clear(0, 0), range(2), 0.5, names=["Eve", None], previous=before)
    assert after.cluster.tolist() == [0, 0] and after.names == {0: "Eve"}


def test_empty_albums():
    nothing = cluster_album(np.zeros((0, 4)), [], 0.5)
    assert len(nothing.cluster) == 0 and nothing.next_id == 0
    gone = cluster_album(np.zeros((0, 4)), [], 0.5, previous=cluster_album(clear(0, 0), range(2), 0.5))
    assert gone.names == {} and gone.next_id == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ["Ada", "Ada", None]}, "two faces of photo 'a' are named 'Ada'"),
        ({"names": ["Ada", None, "Ada"], "not_links": [(0, 2)]}, "faces 0 and 2 are said not to be one"),
        ({"names": ["Ada", None, None], "not_names": [(0, "Ada")]}, "face 0 is named 'Ada' and said not"),
        ({"not_links": [(0, 9)]}, "face 9, which is said not"),
        ({"not_links": [(1, 1)]}, "faces 1 and 1"),
        ({"faces": [1, 1, 2]}, "a face stands twice"),
        ({"names": ["Ada"]}, "3 vectors and 1 names"),
    ],
)
def test_contradictions_are_named(options, words):
    with pytest.raises(BadData, match=words):
        cluster_album(clear(0, 0, 0), ["a", "a", "b"], 0.5, **options)


def test_bad_options():
    with pytest.raises(BadOption, match="threshold is nan"):
        cluster_album(clear(0), [0], float("nan"))
    with pytest.raises(UnknownName, match="single"):
        cluster_album(clear(0), [0], 0.5, link="single")
    with pytest.raises(BadData, match="face 7 is not of this album"):
        cluster_album(clear(0), [0], 0.5).name_of(7)


def test_two_thousand_faces_take_a_moment():
    vectors, who, photos = album(0, 2000, 150, 0.5, 32)
    begun = time.process_time()
    found = cluster_album(vectors, photos, 0.5)
    assert time.process_time() - begun < 5, "about 0.3 s of one core"
    grouped = found.cluster != ALONE
    assert grouped.mean() > 0.9 and adjusted_rand_score(who[grouped], found.cluster[grouped]) > 0.9
