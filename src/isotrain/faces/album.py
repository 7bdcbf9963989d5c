"""The people of an album: its faces in clusters, which respect what was said by hand and keep their names and numbers.

* Faces with the same hand-made name are together, those of two names apart.
* Two faces of one photo are never one person.
* What was taken apart by hand stays apart: two faces (`not_links`), or a face and a name (`not_names`).

Pure functions of arrays; who keeps the result, and how a step is undone, is the gallery's affair. Letters: n faces.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.faces.linkage import LINKS, Link, linked, numbered
from isotrain.faces.similarity import Cosine, Similarity, finite

ALONE = -1
"""The cluster of a face that is like no other."""
BLOCK = 512
"""Faces compared with all others at once."""


@dataclass(frozen=True)
class Clustering:
    """Faces in clusters.

    Attributes:
        faces: their numbers elsewhere, [n].
        cluster: of each, `ALONE` for one without company and without a name, [n].
        names: of clusters that have one.
        next_id: the number of the next new cluster: numbers are never given twice.
    """

    faces: NDArray[np.int64]
    cluster: NDArray[np.int64]
    names: dict[int, str] = field(default_factory=dict)
    next_id: int = 0

    def members(self, cluster: int) -> NDArray[np.int64]:
        """Faces of a cluster, in their order."""
        return np.asarray(self.faces[self.cluster == cluster])

    def name_of(self, face: int) -> str | None:
        """The name of a face's cluster, None if it has none.

        Raises:
            BadData: there is no such face.
        """
        place = np.flatnonzero(self.faces == face)
        if not len(place):
            raise BadData(f"face {face} is not of this album.")
        return self.names.get(int(self.cluster[place[0]]))


def cluster_album(
    vectors_nd: ArrayLike,
    photos_n: Sequence[Hashable] | NDArray[np.int64],
    threshold: float,
    faces: Sequence[int] | None = None,
    names: Sequence[str | None] | None = None,
    not_links: Sequence[tuple[int, int]] = (),
    not_names: Sequence[tuple[int, str]] = (),
    previous: Clustering | None = None,
    similarity: Similarity | None = None,
    link: Link = "average",
) -> Clustering:
    """Cluster the faces of an album; the same faces give the same clusters, whatever happened before.

    After that clusters get the numbers and names they had: one with a hand-made name the number of that name, the
    others, those with the most faces in common first, the number of the cluster that most of these faces were in.

    Args:
        vectors_nd: [n, D].
        photos_n: what photo each face is of.
        threshold: least similarity of two clusters that are merged, from a `Calibration`.
        faces: numbers that are the same in the next clustering; 0, 1, ... if left out.
        names: made by hand, None for the others.
        not_links: pairs of faces (their numbers) that are not one person.
        not_names: faces and the names that are not theirs.
        previous: the clustering before this one.
        similarity: cosine if left out.
        link: "average", or "complete" for smaller and purer clusters.

    Raises:
        BadOption: the threshold is not finite.
        UnknownName: of the link.
        BadData: the sizes do not fit, a vector is broken, a face is twice or unknown, or what was said by hand
            contradicts itself; the message names the faces.
    """
    vectors = finite(vectors_nd)
    number = len(vectors)
    if not np.isfinite(threshold):
        raise BadOption(f"threshold is {threshold}: it must be a number.")
    if link not in LINKS:
        raise UnknownName("link", link, LINKS)
    said = _Said(number, photos_n, faces, names, not_links, not_names)
    said.check()
    known = {} if previous is None else dict(zip(previous.faces.tolist(), previous.cluster.tolist(), strict=True))
    before_n = np.array([known.get(face, ALONE) for face in said.faces.tolist()], np.int64)
    measure = similarity if similarity is not None else Cosine()
    # A mean reaches the threshold only if some pair does: what no chain of such pairs joins is not looked at together.
    region_n = _regions(vectors, said.together_n, threshold, measure)
    group_n = np.zeros(number, np.int64)
    named_before = {} if previous is None else previous.names
    barred = said.barred(before_n, named_before)
    order = np.argsort(region_n, kind="stable")
    for here in np.split(order, np.flatnonzero(np.diff(region_n[order])) + 1) if number else []:
        if len(here) > 1:
            alike = measure.matrix(vectors[here], vectors[here]).astype(np.float32)
            alike = np.asarray((alike + alike.T) / 2, np.float32)  # rounding is not symmetric
            found = linked(alike, said.apart(here, barred), said.together_n[here], threshold, link)
        else:
            found = np.zeros(1, np.int64)
        group_n[here] = here[0] + number * found  # unlike those of any other region
    return _recognised(numbered(group_n), said, before_n, previous)


class _Said:
    """What was said by hand, in places of faces."""

    def __init__(
        self,
        number: int,
        photos: Sequence[Hashable] | NDArray[np.int64],
        faces: Sequence[int] | None,
        names: Sequence[str | None] | None,
        not_links: Sequence[tuple[int, int]],
        not_names: Sequence[tuple[int, str]],
    ) -> None:
        self.faces = np.arange(number) if faces is None else np.asarray(faces, np.int64)
        self.names = [None] * number if names is None else list(names)
        for what, size in (("photos", len(photos)), ("faces", len(self.faces)), ("names", len(self.names))):
            if size != number:
                raise BadData(f"{number} vectors and {size} {what}: one for each face is needed.")
        place = {face: at for at, face in enumerate(self.faces.tolist())}
        if len(place) != number:
            raise BadData("a face stands twice in the album: each has a number of its own.")
        codes: dict[Hashable, int] = {}
        self.photo_n = np.array([codes.setdefault(photo, len(codes)) for photo in _plain(photos)], np.int64)
        self.photos = list(codes)
        self.known = sorted({name for name in self.names if name is not None})
        code = {name: at for at, name in enumerate(self.known)}
        self.name_n = np.array([-1 if name is None else code[name] for name in self.names], np.int64)
        # Each face begins alone, those of one name in the place of the first of them.
        self.together_n = np.arange(number)
        for name in range(len(self.known)):
            of_name = np.flatnonzero(self.name_n == name)
            self.together_n[of_name] = of_name[0]
        self.not_links = np.array([[self._place(place, a), self._place(place, b)] for a, b in not_links], np.int64)
        self.not_links = self.not_links.reshape(-1, 2)
        self.not_names = [(self._place(place, face), name) for face, name in not_names]

    def _place(self, place: dict[int, int], face: int) -> int:
        if face not in place:
            raise BadData(f"face {face}, which is said not to be somebody, is not of this album.")
        return place[face]

    def check(self) -> None:
        """Raise BadData if what was said contradicts itself."""
        named = np.flatnonzero(self.name_n >= 0)
        keys = self.name_n[named] * len(self.photos) + self.photo_n[named]
        _, first, count = np.unique(keys, return_index=True, return_counts=True)
        if (count > 1).any():
            at = named[first[count > 1][0]]
            raise BadData(
                f"two faces of photo {self.photos[self.photo_n[at]]!r} are named {self.names[at]!r}: one of them is "
                "somebody else. Take the name from it."
            )
        for a, b in self.not_links.tolist():
            if a == b or (self.name_n[a] >= 0 and self.name_n[a] == self.name_n[b]):
                raise BadData(
                    f"faces {self.faces[a]} and {self.faces[b]} are said not to be one person, and both are named "
                    f"{self.names[a]!r}. Take one of these back."
                )
        for at, name in self.not_names:
            if self.names[at] == name:
                raise BadData(
                    f"face {self.faces[at]} is named {name!r} and said not to be {name!r}. Take one of these back."
                )

    def barred(self, before_n: NDArray[np.int64], named: dict[int, str]) -> NDArray[np.int64]:
        """Pairs of places that must not meet, [k, 2]: said so, or one is said not to be whom the other is named."""
        pairs = [self.not_links]
        numbers = {name: cluster for cluster, name in named.items()}
        for at, name in self.not_names:
            of_name = np.zeros(len(self.faces), bool)
            if name in self.known:
                of_name |= self.name_n == self.known.index(name)
            if name in numbers:  # those that were in its cluster, unless they have another name of their own now
                of_name |= (before_n == numbers[name]) & (self.name_n < 0)
            of_name[[one for one, other in self.not_names if other == name]] = False
            others = np.flatnonzero(of_name)
            pairs.append(np.stack([np.full(len(others), at), others], 1))
        return np.concatenate(pairs)

    def apart(self, here: NDArray[np.int64], barred: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these faces must not be in one cluster, [h, h]."""
        photo, name = self.photo_n[here], self.name_n[here]
        apart = photo[:, None] == photo
        apart |= (name[:, None] >= 0) & (name >= 0) & (name[:, None] != name)
        np.fill_diagonal(apart, False)
        place = np.full(len(self.faces), -1)
        place[here] = np.arange(len(here))
        one, other = place[barred[:, 0]], place[barred[:, 1]]
        inside = (one >= 0) & (other >= 0)
        apart[one[inside], other[inside]] = apart[other[inside], one[inside]] = True
        return np.asarray(apart)


def _plain(photos: Sequence[Hashable] | NDArray[np.int64]) -> Sequence[Hashable]:
    return photos.tolist() if isinstance(photos, np.ndarray) else photos


def _regions(
    vectors: NDArray[np.float64], together_n: NDArray[np.int64], threshold: float, measure: Similarity
) -> NDArray[np.int64]:
    """What is joined by pairs that are alike enough or together anyway: the number of each face's region, [n]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = len(vectors)
    region_n = together_n.copy()
    floor = threshold - 1e-5 * max(1.0, abs(threshold))  # as the means are of numbers with 24 bits
    for start in range(0, number, BLOCK):
        near = measure.matrix(vectors[start : start + BLOCK], vectors) >= floor
        one, other = np.nonzero(near)
        graph = coo_array((np.ones(len(one), bool), (region_n[one + start], region_n[other])), (number, number))
        region_n = connected_components(graph, directed=False)[1].astype(np.int64)[region_n]
    return region_n


def _recognised(
    group_n: NDArray[np.int64], said: _Said, before_n: NDArray[np.int64], previous: Clustering | None
) -> Clustering:
    """Groups under the numbers and names they had."""
    old = previous if previous is not None else Clustering(np.zeros(0, np.int64), np.zeros(0, np.int64))
    groups = int(group_n.max()) + 1 if len(group_n) else 0
    own_name: dict[int, str] = {}
    for at in np.flatnonzero(said.name_n >= 0).tolist():
        own_name[int(group_n[at])] = said.known[said.name_n[at]]
    numbers = {name: cluster for cluster, name in old.names.items()}
    taken = {group: numbers[name] for group, name in own_name.items() if name in numbers}
    used = set(taken.values())
    refused: dict[int, set[str]] = {}
    for at, name in said.not_names:
        refused.setdefault(int(group_n[at]), set()).add(name)
    was = before_n >= 0
    pairs, common = np.unique(np.stack([group_n[was], before_n[was]], 1), axis=0, return_counts=True)
    for at in np.lexsort((pairs[:, 0], pairs[:, 1], -common)):  # most in common first
        group, cluster = (int(value) for value in pairs[at])
        # Nobody is given a name that was taken from it by hand, even where most of its cluster bore it.
        if group not in taken and cluster not in used and old.names.get(cluster) not in refused.get(group, ()):
            taken[group] = cluster
            used.add(cluster)
    size = np.bincount(group_n, minlength=groups)
    cluster_of, names, following = np.full(groups, ALONE), {}, old.next_id
    for group in range(groups):
        title = own_name[group] if group in own_name else old.names.get(taken.get(group, ALONE))
        if size[group] < 2 and title is None:
            continue
        if group not in taken:
            taken[group], following = following, following + 1
        cluster_of[group] = taken[group]
        if title is not None:
            names[taken[group]] = title
    return Clustering(said.faces, cluster_of[group_n], names, following)
