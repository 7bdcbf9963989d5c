"""Photo folders in shards, without Ray: listing, each photo once, killed workers, what is refused."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from isotrain.errors import BadCheckpoint, BadData, BadOption, MissingExtra
from isotrain.look import cluster, cluster_worker
from isotrain.look.cluster import Plan, _alone, _plan, _taken, look_at_folder
from isotrain.look.cluster_listing import Listing, Photo, photos_in
from isotrain.look.cluster_shards import MANIFEST, Manifest, merged, records_of, shard_name, shard_path, shards_in
from isotrain.look.cluster_worker import Job, ShardLooker
from isotrain.look.looker import Looker

CLASS_ALONE = {"objects": "none", "faces": "none", "caption": "none"}


def put(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("b/2.png", "a.png", "b/10.png", "z/y/x.JPG")):
        put(tmp_path / "photos" / name, number)
    (tmp_path / "photos" / "b" / "broken.gif").write_bytes(b"GIF89a")
    (tmp_path / "photos" / "b" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


@pytest.fixture
def job(folder, tmp_path):
    out = tmp_path / "out"
    identity = Looker.of(**CLASS_ALONE).identity
    run = Manifest(str(folder), identity, None, None).begun(out).runs
    return Job(folder, out, run, identity, CLASS_ALONE, batch=2)


def listed(folder, out):
    listing = Listing(out / ".listing.db")
    listing.add(photos_in(folder, out))
    return listing


def test_photos_are_listed_in_order_whatever_they_are_called(folder, tmp_path):
    strange = os.fsdecode(b"caf\xe9 \n';--.png")
    put(folder / strange)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "again").symlink_to(folder / "b", target_is_directory=True)
    put(folder / "out" / "drawn.png")
    listing = listed(folder, folder / "out")
    paths = [photo.path for photo in listing.left()]
    here = ["a.png", "b/10.png", "b/2.png", "b/broken.gif", "gone.png", "loop.png", "z/y/x.JPG"]
    assert paths == sorted([strange, *here], key=os.fsencode)
    listing.close()


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    scan = os.scandir

    def refused(place):
        if str(place).endswith("z/y"):
            raise PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(BadData, match="z/y cannot be read"):
        list(photos_in(folder, folder / "out"))


def result(job):
    """Look at what is left as the driver does, all in one worker; the merged records."""
    listing = listed(job.folder, job.out)
    for name in shards_in(job.out):
        _taken(listing, job.out, name, print)
    path = job.out / "plan"
    tasks = _plan(path, listing.left(), 2, 100)
    looker = ShardLooker(job)
    for task in tasks:
        for number, photos in Plan(str(path), 2).shards(**task):
            looker.look(number, photos)
    for name in shards_in(job.out, job.run):
        _taken(listing, job.out, name, print)
    assert next(listing.left(), None) is None
    failed = list(merged(job.out, listing.places()))
    listing.close()
    records = [json.loads(line) for line in (job.out / "photos.jsonl").read_bytes().splitlines()]
    assert [json.loads(line) for line in failed] == [one for one in records if one["sight"] is None]
    return records


def test_each_photo_is_looked_at_and_one_that_cannot_be_read_is_named(job):
    records = result(job)
    assert [one["photo"] for one in records] == ["a.png", "b/10.png", "b/2.png", "b/broken.gif", "z/y/x.JPG"]
    assert [one["photo"] for one in records if one["error"]] == ["b/broken.gif"]
    assert "broken.gif" in records[3]["error"] and records[0]["sight"]["size"] == [20, 24]
    (alone,) = Looker.of(**CLASS_ALONE).look([cluster_worker.read_picture(job.folder / "a.png")], ["a.png"])
    seen, said = (dict(one["class"] or {}) for one in (records[0]["sight"], alone.document()))
    assert seen["others"] == said["others"] and seen["name"] == said["name"]


def test_a_changed_photo_is_looked_at_again_and_a_deleted_one_is_left_out(job):
    result(job)
    before = {name: shard_path(job.out, name).read_bytes() for name in shards_in(job.out)}
    put(job.folder / "a.png", 9)
    os.utime(job.folder / "a.png", ns=(1, 1))
    (job.folder / "b" / "2.png").unlink()
    put(job.folder / "b" / "3.png", 5)
    records = result(replace(job, run=2))
    assert [one["photo"] for one in records] == ["a.png", "b/10.png", "b/3.png", "b/broken.gif", "z/y/x.JPG"]
    assert records[0]["modified"] == 1
    after = {name: shard_path(job.out, name).read_bytes() for name in shards_in(job.out)}
    assert {name: after[name] for name in before} == before, "a finished shard is not touched"
    (new,) = set(after) - set(before)
    assert len(records_of(shard_path(job.out, new), new)) == 2


def test_a_damaged_shard_does_not_count(job, capsys):
    whole = result(job)
    name = next(iter(shards_in(job.out)))
    path = shard_path(job.out, name)
    path.write_bytes(path.read_bytes()[:-30])
    again = result(replace(job, run=2))
    assert f"{path} is damaged" in capsys.readouterr().out
    assert [one["photo"] for one in again] == [one["photo"] for one in whole]


def test_a_photo_in_two_shards_counts_once(job):
    """A worker that has outlived its run writes a shard of that run while the next run looks at the same photos."""
    whole = result(job)
    looker = ShardLooker(replace(job, run=2))
    looker.look(0, [Photo(one["photo"], one["bytes"], one["modified"]) for one in whole])
    assert result(replace(job, run=3)) == whole


def in_a_child(work):
    """Run something in a process of its own; how it ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def test_killed_between_writing_and_reporting_the_shard_is_not_looked_at_again(job, monkeypatch):
    photos = sorted(photos_in(job.folder, job.out))
    write = cluster_worker.write_shard

    def killed(*arguments):
        write(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    looker = ShardLooker(job)
    monkeypatch.setattr(cluster_worker, "write_shard", killed)
    assert in_a_child(lambda: looker.look(0, photos)) == -signal.SIGKILL
    path = shard_path(job.out, shard_name(job.run, 0))
    before = path.stat()
    assert looker.look(0, photos) == len(photos), "a second writing would kill this process"
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino


def test_a_photo_that_kills_its_worker_is_found_and_named(job, monkeypatch):
    """As a broken file that makes a decoder crash: three deaths in company, then alone, and the rest is looked at."""
    photos = sorted(photos_in(job.folder, job.out))
    read = cluster_worker.read_picture

    def deadly(path, reduce=False):
        if path.name == "10.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(path, reduce)

    looker = ShardLooker(job)
    monkeypatch.setattr(cluster_worker, "read_picture", deadly)
    ends = [in_a_child(lambda: looker.look(0, photos)) for _ in range(5)]
    assert ends == [-signal.SIGKILL] * 4 + [0]
    path = shard_path(job.out, shard_name(job.run, 0))
    told = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
    assert {one["photo"]: one["error"] is None for one in told} == {
        "a.png": True, "b/10.png": False, "b/2.png": True, "b/broken.gif": False, "z/y/x.JPG": True,
    }  # fmt: skip
    assert "killed" in told[1]["error"]


def test_a_photo_at_which_a_part_fails_is_named_and_those_beside_it_are_seen(job, monkeypatch):
    looker = ShardLooker(job)
    look = type(looker._looker).look

    def failing(self, pictures, names, *more):
        if "a.png" in names:
            raise RuntimeError("a bug")
        return look(self, pictures, names, *more)

    monkeypatch.setattr(type(looker._looker), "look", failing)
    looker.look(0, sorted(photos_in(job.folder, job.out)))
    path = shard_path(job.out, shard_name(job.run, 0))
    errors = {one["photo"]: one["error"] for one in map(json.loads, path.read_bytes().splitlines()[1:])}
    assert [photo for photo, error in errors.items() if error] == ["a.png", "b/broken.gif"]
    assert errors["a.png"] == "a part failed at it: RuntimeError: a bug"


def test_other_parts_or_folders_are_refused_and_so_is_what_is_somebody_elses(job, tmp_path):
    mine = Manifest(str(job.folder), job.identity, None, None)
    with pytest.raises(BadOption, match=f"made with parts {job.identity}, not other"):
        replace(mine, parts="other").begun(job.out)
    with pytest.raises(BadOption, match="of the photos in"):
        replace(mine, folder="/elsewhere").begun(job.out)
    assert mine.begun(job.out).runs == 2
    (job.out / MANIFEST).write_text('{"kind": "isotrain photo records", "version": 99}')
    with pytest.raises(BadCheckpoint, match="version 99"):
        mine.begun(job.out)
    (job.out / MANIFEST).write_text("[1")
    with pytest.raises(BadCheckpoint, match="damaged"):
        mine.begun(job.out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(BadOption, match="something else"):
        mine.begun(tmp_path / "full")
    with pytest.raises(BadData, match="has parts"):
        ShardLooker(replace(job, identity="another", out=_begun(mine, tmp_path / "new")))
    with pytest.raises(BadData, match="does not see"):
        ShardLooker(replace(job, out=tmp_path / "nowhere"))


def _begun(manifest, out):
    manifest.begun(out)
    return out


def test_two_at_once_are_refused_and_a_folder_without_photos_and_no_ray(job, tmp_path, monkeypatch):
    with _alone(job.out), pytest.raises(BadOption, match="at work"), _alone(job.out):
        pass
    (tmp_path / "there").mkdir(mode=0o755)
    with _alone(tmp_path / "there"):
        assert (tmp_path / "there").stat().st_mode & 0o777 == 0o700
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"isotrain\[cluster\]"):
        look_at_folder(job.folder, job.out, CLASS_ALONE)
    monkeypatch.setattr(cluster, "import_ray", lambda address: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="holds no picture"):
        look_at_folder(tmp_path / "empty", tmp_path / "none", CLASS_ALONE)
