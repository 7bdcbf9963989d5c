"""The gallery's faces clustered: what hands said stays, the rest is arranged anew, in one step that can be undone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isotrain.faces.album import ALONE, Clustering, cluster_album
from isotrain.gallery import Gallery, Group


@dataclass(frozen=True)
class Arranged:
    """What a clustering did.

    Attributes:
        faces: looked at.
        people: clusters and people there are now.
        moved: faces that are somebody else's now, or nobody's.
        alone: faces that are nobody's.
    """

    faces: int
    people: int
    moved: int
    alone: int


def arrange(gallery: Gallery, threshold: float) -> Arranged:
    """Cluster all faces of a gallery; clusters that stay keep their number and name.

    Args:
        gallery: of faces.
        threshold: mean similarity from which on two clusters are one.

    Raises:
        BadOption: the threshold is no number.
        BadData: what was said by hand contradicts itself.
    """
    table = gallery.table()
    # A face that a hand took from everybody stays nobody's.
    rows = np.flatnonzero(~(table.by_hand & (table.people < 0)))
    faces, people, hand = table.faces[rows], table.people[rows], table.by_hand[rows]
    if not len(rows):
        return Arranged(0, 0, 0, len(table.faces))
    names = [str(person) if by else None for person, by in zip(people.tolist(), hand.tolist(), strict=True)]
    named = {person.id: str(person.id) for person in gallery.people(named=True)}
    top = int(people.max(initial=0)) + 1
    before = Clustering(faces, np.where(people < 0, ALONE, people), named, top)
    found = cluster_album(
        table.vectors[rows], table.photos[rows].tolist(), threshold, faces.tolist(), names, previous=before
    )
    groups: list[Group] = []
    moved = 0
    for cluster in np.unique(found.cluster).tolist():
        members = found.cluster == cluster
        name = found.names.get(cluster)
        known = int(name) if name is not None else cluster if cluster in set(people.tolist()) else None
        target = None if cluster == ALONE else known
        free = members & ~hand
        changed = free & (people != (ALONE if target is None else target)) if cluster == ALONE or known else free
        if not changed.any():
            continue
        moved += int(changed.sum())
        new = cluster != ALONE and known is None
        groups.append(Group(faces[changed].tolist(), target, new))
    if groups:
        gallery.arrange(groups, by="machine")
    now = gallery.table()
    return Arranged(len(now.faces), len(set(now.people[now.people >= 0].tolist())), moved, int((now.people < 0).sum()))
