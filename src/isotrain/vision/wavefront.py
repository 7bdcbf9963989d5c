"""Face meshes in Wavefront's .obj files: points, triangles, and which points are the 68 landmarks.

Coordinates in the file: x right, y up, z towards the viewer, in any unit, the face looking along z. The landmarks are
given in the file by a comment, or in a file beside it of the same name that ends in `.json`:

    # landmarks 1 2 3 ... (68 numbers of points, counted from 1 as in the file's faces, in iBUG's order)
    {"landmarks": [1, 2, 3, ...]}

Optional, in the same ways: `deviations`, 68 positive numbers, the usual error of each landmark in inter-ocular
distances. Polygons become fans of triangles; textures, normals and other lines are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isotrain.aside import write_aside
from isotrain.errors import BadData
from isotrain.vision.landmarks import NUMBER

MOST = 200_000
"""Points or triangles of the largest mesh that is read."""


@dataclass
class Mesh:
    """What a file says.

    Attributes:
        points: x, y, z of each.
        triangles: three places among the points, counted from 0.
        landmarks: 68 places among the points, or none.
        deviations: 68, or none.
    """

    points: list[list[float]] = field(default_factory=list)
    triangles: list[list[int]] = field(default_factory=list)
    landmarks: list[int] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)


def read_mesh(path: Path) -> Mesh:
    """The mesh in a file, complete and checked: every place exists, every number is finite.

    Raises:
        BadData: it is not there, malformed (with the line), too large, or does not say where its landmarks are.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"face model {path} cannot be read: {error}.") from error
    mesh = Mesh()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        try:
            _take(mesh, words)
        except (ValueError, IndexError) as error:
            raise BadData(f"face model {path}, line {number}: {error} in {line[:80]!r}.") from error
        if max(len(mesh.points), len(mesh.triangles)) > MOST:
            raise BadData(f"face model {path} has more than {MOST:,} points or triangles: simplify the mesh.")
    beside = path.with_suffix(".json")
    if not mesh.landmarks and beside.is_file():
        _take_beside(mesh, beside)
    _check(mesh, path)
    return mesh


def write_mesh(path: Path, mesh: Mesh, comments: Sequence[str] = ()) -> None:
    """A mesh as a file that `read_mesh` reads; the comments, one line each, stand at its head."""
    lines = [f"# {comment}" for comment in comments]
    lines += ["# landmarks " + " ".join(str(place + 1) for place in mesh.landmarks)]
    lines += ["# deviations " + " ".join(f"{value:g}" for value in mesh.deviations)]
    lines += ["v " + " ".join(f"{value:g}" for value in point) for point in mesh.points]
    lines += ["f " + " ".join(str(place + 1) for place in corners) for corners in mesh.triangles]
    write_aside(path, ("\n".join(lines) + "\n").encode())


def _take(mesh: Mesh, words: list[str]) -> None:
    """One line of an .obj file."""
    if words[:1] == ["v"]:
        point = [float(word) for word in words[1:4]]
        if len(point) != 3 or not all(map(math.isfinite, point)):
            raise ValueError("a point has three finite numbers; not so")
        mesh.points.append(point)
    elif words[:1] == ["f"]:
        corners = [_place(word.split("/")[0], len(mesh.points)) for word in words[1:]]
        if len(corners) < 3:
            raise ValueError("a polygon has three corners at least; not so")
        mesh.triangles += [[corners[0], *corners[place : place + 2]] for place in range(1, len(corners) - 1)]
    elif words[:2] == ["#", "landmarks"]:
        mesh.landmarks = [_place(word, 1 << 62) for word in words[2:]]
    elif words[:2] == ["#", "deviations"]:
        mesh.deviations = [float(word) for word in words[2:]]


def _place(word: str, points: int) -> int:
    """A point's place from 0: the file counts from 1, and from the last point backwards with negative numbers."""
    number = int(word)
    place = number - 1 if number > 0 else points + number
    if number == 0 or not 0 <= place < points:
        raise ValueError(f"point {number} does not exist (points are counted from 1)")
    return place


def _take_beside(mesh: Mesh, beside: Path) -> None:
    try:
        said = json.loads(beside.read_text(encoding="utf-8"))
        mesh.landmarks = [_place(str(number), len(mesh.points)) for number in said["landmarks"]]
        mesh.deviations = [float(value) for value in said.get("deviations", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadData(f'{beside} has to hold {{"landmarks": [68 numbers of points]}}: {error}.') from error


def _check(mesh: Mesh, path: Path) -> None:
    if not mesh.triangles:
        raise BadData(f"face model {path} has no triangles: is it an .obj file with lines 'v x y z' and 'f 1 2 3'?")
    if not mesh.landmarks:
        raise BadData(
            f"face model {path} does not say which of its points are the 68 landmarks: add a line "
            f"'# landmarks' with their numbers, or {path.with_suffix('.json').name} beside it."
        )
    if len(mesh.landmarks) != NUMBER or len(set(mesh.landmarks)) != NUMBER:
        count = f"{len(mesh.landmarks)} numbers, {len(set(mesh.landmarks))} of them different"
        raise BadData(f"face model {path}: its landmarks are {count}, they have to be {NUMBER} points.")
    if max(mesh.landmarks) >= len(mesh.points):
        raise BadData(f"face model {path}: landmark at point {max(mesh.landmarks) + 1} of {len(mesh.points)}.")
    if mesh.deviations and (
        len(mesh.deviations) != NUMBER or not all(math.isfinite(value) and value > 0 for value in mesh.deviations)
    ):
        raise BadData(f"face model {path}: its deviations have to be {NUMBER} positive numbers.")
