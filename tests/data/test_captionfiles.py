"""Captions in every format say the same of the same pictures; what is missing or empty is counted and named."""

import json
import re

import pytest
from PIL import Image

from isotrain.data.captionfiles import open_captions
from isotrain.errors import BadData, BadOption

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
SAID = {name: (f"One of {name}.", f"Another, of {name}.") for name in NAMES}


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(path)


@pytest.fixture
def photos(tmp_path):
    for name in NAMES:
        picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


def coco(path, names=NAMES, said=SAID):
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    rows = [{"id": 1, "image_id": n, "caption": text} for n, name in enumerate(names) for text in said.get(name, ())]
    path.write_text(json.dumps({"images": images, "annotations": rows}, indent=1))
    return path


def karpathy(path, names=NAMES, said=SAID, splits=("train",) * 4):
    images = [
        {"filename": name, "split": split, "sentences": [{"tokens": [], "raw": text} for text in said[name]]}
        for name, split in zip(names, splits, strict=True)
    ]
    path.write_text(json.dumps({"images": images, "dataset": "x"}))
    return path


def flickr(path):
    path.write_text("".join(f"{name}#{n}\t{text}\n" for name in NAMES for n, text in enumerate(SAID[name])))
    return path


def table(path):
    path.write_text("image,caption\n" + "".join(f'{name},"{text}"\n' for name in NAMES for text in SAID[name]))
    return path


def lines(path, of="file_name", said="captions"):
    rows = [{of: name, said: list(SAID[name])} for name in NAMES]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def single_lines(path):
    rows = [{"image": name, "text": text} for name in NAMES for text in SAID[name]]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def beside(folder):
    for name in NAMES:
        (folder / name).with_suffix(".txt").write_text("\n".join(SAID[name]) + "\n\n")


FORMATS = [
    (coco, "anything.json", "COCO captions"),
    (karpathy, "dataset_x.json", "Karpathy's captions"),
    (flickr, "x.token.txt", "Flickr8k's list of captions"),
    (flickr, "x.token", "Flickr8k's list of captions"),
    (table, "captions.txt", "table of captions"),
    (lines, "metadata.jsonl", "JSON lines with captions"),
    (single_lines, "x.jsonl", "JSON lines with captions"),
]


def said(samples):
    return {sample.name: sample.said for sample in samples}


@pytest.mark.parametrize("place", ["named", "its folder", "among the pictures"])
@pytest.mark.parametrize(("write", "name", "form"), FORMATS, ids=[f"{w.__name__}-{n}" for w, n, _ in FORMATS])
def test_every_format_is_found_out(photos, tmp_path, write, name, form, place):
    (tmp_path / "captions").mkdir()
    path = write((photos if place == "among the pictures" else tmp_path / "captions") / name)
    captions = {"named": path, "its folder": path.parent, "among the pictures": None}[place]
    data = open_captions(photos, captions, held_out=0)
    assert said(data.train) == SAID and data.format == form and not data.notes
    assert [sample.picture for sample in data.train] == [photos / name for name in NAMES]
    assert data.train[0].where.startswith(f"{path}:")


def test_texts_beside_the_pictures(photos):
    beside(photos)
    data = open_captions(photos, held_out=0.25)
    assert said(data.train + data.held_out) == SAID
    assert (len(data.train), len(data.held_out)) == (3, 1)
    assert data.format == "captions beside pictures"


def test_a_file_says_where_its_lines_are(photos, tmp_path):
    path = coco(tmp_path / "c.json")
    sample = open_captions(photos, path, held_out=0).train[1]
    line = path.read_text().splitlines().index('   "file_name": "b.jpg"') - 1
    assert sample.where == f"{path}:{line} images[1]"
    assert open_captions(photos, flickr(tmp_path / "f.txt"), held_out=0).train[1].where == f"{tmp_path / 'f.txt'}:3"


def test_splits_by_the_names_of_files(photos, tmp_path):
    files = [
        coco(tmp_path / f"captions_{split}2017.json", names)
        for split, names in (("train", NAMES[:2]), ("val", NAMES[2:3]), ("test", NAMES[3:]))
    ]
    for captions in (files, [str(path) for path in files], tmp_path):
        data = open_captions(photos, captions)
        assert [len(part) for part in (data.train, data.held_out, data.test)] == [2, 1, 1]
    with pytest.raises(BadData, match="has no pictures to learn from"):
        open_captions(photos, files[1])
    assert len(open_captions(photos, files[1], held_out=0).held_out) == 1


def test_karpathys_splits_and_paths(tmp_path):
    for name, folder in zip(NAMES, ("train2014", "train2014", "val2014", "val2014"), strict=True):
        picture(tmp_path / folder / name)
    path = karpathy(tmp_path / "dataset_coco.json", splits=("train", "restval", "val", "test"))
    content = json.loads(path.read_text())
    content["images"][0]["filepath"] = "train2014"
    path.write_text(json.dumps(content))
    data = open_captions(tmp_path)
    assert [[s.name for s in part] for part in (data.train, data.held_out, data.test)] == [
        ["train2014/a.jpg", "train2014/b.jpg"],
        ["val2014/c.jpg"],
        ["val2014/d.jpg"],
    ]
    content["images"][2]["split"] = "validity"
    path.write_text(json.dumps(content))
    with pytest.raises(BadData, match=r"images\[2\]: split 'validity' is not known"):
        open_captions(tmp_path)


@pytest.mark.parametrize("where", ["one file", "a file in each", "beside"])
def test_splits_by_folders(tmp_path, where):
    names = ("train/a.jpg", "train/b.jpg", "validation/c.jpg", "test/d.jpg")
    for name in names:
        picture(tmp_path / name)
        row = {"file_name": name if where == "one file" else name.split("/")[1], "caption": "x"}
        path = tmp_path / "m.jsonl" if where == "one file" else (tmp_path / name).parent / "metadata.jsonl"
        if where == "beside":
            (tmp_path / name).with_suffix(".txt").write_text("x")
        else:
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
    data = open_captions(tmp_path)
    assert [len(part) for part in (data.train, data.held_out, data.test)] == [2, 1, 1]


def test_a_few_missing_pictures_are_left_out_and_named(photos, tmp_path):
    path = coco(tmp_path / "c.json", ("gone.jpg", *NAMES, "lost.jpg"), {**SAID, "gone.jpg": ("x",), "lost.jpg": ("y",)})
    data = open_captions(photos, path, held_out=0)
    assert said(data.train) == SAID
    (note,) = data.notes
    assert note.startswith("2 of 6 pictures are missing, and the captions left out (the first: 'gone.jpg', ")
    assert note.endswith(f"{path}:3 images[0])")


@pytest.mark.parametrize("kept", [1, 0])
def test_more_than_half_missing_is_an_error(tmp_path, kept):
    picture(tmp_path / "photos" / (NAMES[0] if kept else "other.jpg"))
    path = flickr(tmp_path / "captions.txt")
    with pytest.raises(BadData) as caught:
        open_captions(tmp_path / "photos", path)
    line, name = (3, "b.jpg") if kept else (1, "a.jpg")
    assert str(caught.value) == (
        f"{path}:{line}: picture '{name}' is not in {tmp_path / 'photos'}; {4 - kept} of 4 pictures are missing. "
        "Put them there, or name the folder that holds them."
    )


def test_captions_of_an_image_that_is_not_listed(photos, tmp_path):
    path = coco(tmp_path / "c.json")
    content = json.loads(path.read_text())
    content["annotations"].append({"image_id": 77, "caption": "of nothing"})
    path.write_text(json.dumps(content))
    data = open_captions(photos, path, held_out=0)
    assert (
        "1 of 5 pictures is missing" in data.notes[0] and "id 77" in data.notes[0] and "annotations[8]" in data.notes[0]
    )


def test_pictures_without_captions_and_captions_without_words(photos, tmp_path):
    texts = {"a.jpg": ("  A \n dog. ", " ", ""), "b.jpg": ("x" * 100_000, "y"), "d.jpg": (" ",)}
    path = coco(tmp_path / "c.json", said=texts)
    data = open_captions(photos, path, held_out=0)
    assert said(data.train) == {"a.jpg": ("A dog.",), "b.jpg": ("y",)}
    empty, long, bare = data.notes
    assert re.fullmatch(r"3 empty captions left out \(the first: .*c\.json:\d+ annotations\[1\]\)", empty)
    assert re.fullmatch(r"1 caption of more than 2,000 characters left out \(.*annotations\[3\], 100,000 cha.*\)", long)
    assert bare == "2 pictures without a caption left out (the first: c.jpg)"


def test_only_empty_captions(photos, tmp_path):
    path = coco(tmp_path / "c.json", said={"a.jpg": ("",)})
    with pytest.raises(
        BadData, match=r"no picture has a caption; 1 empty caption left out .*; 4 pictures without a capt"
    ):
        open_captions(photos, path)


def test_a_picture_in_two_splits(photos, tmp_path):
    files = [coco(tmp_path / "captions_train.json"), coco(tmp_path / "captions_val.json", NAMES[:1])]
    with pytest.raises(BadData, match=r"val\.json:.* picture a\.jpg is in val, and in train at .*train\.json:"):
        open_captions(photos, files)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", '{"images": [', r"c\.json:1: no valid JSON"),
        ("c.json", '{"images": []}', "c.json holds no captions in a known format. Known: COCO's captions"),
        ("c.json", '{"images": [], "x": "\\"", "y": "caption", "caption": 1}', r"c\.json:1: no list 'annotations'"),
        ("c.json", '{"images": [{"file_name": "a.jpg"}], "annotations": [{"caption": ""}]}', r"images\[0\]: pict"),
        ("c.json", '{"images": [{"id": 1, "file_name": "a.jpg"},\n{"id": 1, "file_name": "b.jpg"}],'
         '"annotations": [{"caption": ""}]}', r"c\.json:2 images\[1\]: picture id 1 is there twice"),
        ("c.json", '{"images": [7], "annotations": [{"caption": ""}]}', r"c\.json:1 images\[0\]: 7 is no object"),
        ("c.json", '{"images": [],\n"annotations": [{"caption": ""}]}', r"c\.json:2 annotations\[0\]: no image_id"),
        ("k.json", '{"images": [{"sentences": []}]}', r"images\[0\]: picture without filename or sentences"),
        ("k.json", '{"images": [{"filename": "a.jpg", "sentences": [{}]}]}', r"images\[0\]: a sentence without"),
        ("f.txt", "a.jpg#0\tx\nb.jpg 0 x\n", r"f\.txt:2: 'b\.jpg 0 x' is not NAME\.jpg#0<tab>CAPTION"),
        ("f.csv", "image,caption\na.jpg,one, two\n", r"f\.csv:2: 3 cells, two are needed"),
        ("f.txt", "Some text.\n", r"f\.txt holds no captions in a known format"),
        ("l.jsonl", '{"image": "a.jpg", "caption": "x"}\n{', r"l\.jsonl:2: no valid JSON \(.*column 2\)"),
        ("l.jsonl", '{"image": "a.jpg"}', r"l\.jsonl:1: no picture or no caption"),
        ("l.jsonl", '{"caption": "x"}', r"l\.jsonl:1: no picture or no caption"),
        ("l.jsonl", '{"image": "a.jpg", "captions": ["x", 1]}', r"l\.jsonl:1: no picture or no caption"),
        ("l.jsonl", "[]", r"l\.jsonl:1: no picture or no caption"),
        ("l.jsonl", b'{"image": "a.jpg", "caption": "\xe9"}', r"l\.jsonl:1: not UTF-8 text: byte 31 is 0xe9"),
        ("c.json", '{"images": [{"id": {}, "file_name": "a.jpg"}], "annotations": [{"caption": ""}]}',
         r"images\[0\]: picture id \{\} is no number\. Write one"),
        ("c.json", '{"images": [{"id": 1, "file_name": "a.jpg"}],\n"annotations": [{"image_id": [1], "caption": ""}]}',
         r"c\.json:2 annotations\[0\]: image_id \[1\] is no number"),
        ("k.json", '{"images": {"filename": "a.jpg", "sentences": []}}', r"k\.json:1: no list 'images': Karpathy's"),
        ("c.json", '{"images": [],\n"annotations": [{"caption": ' + "[" * 100_000, r"c\.json:2: no valid JSON \(br"),
        ("c.json", '{"info":\n' + "9" * 5000 + ', "caption": 1}', r"c\.json:2: no valid JSON \(a number of more"),
        ("l.jsonl", '{"image": "a.jpg", "caption": "x"}\n' + "[" * 100_000, r"l\.jsonl:2: no valid JSON \(brackets"),
        ("l.jsonl", '{"image": "a.jpg", "caption": ' + "9" * 5000 + "}", r"l\.jsonl:1: no valid JSON \(a number of"),
        ("f.csv", 'image,caption\na.jpg,"one\rtwo"\nb.jpg,one\rtwo\n', r"f\.csv:3: no valid csv \(new-line character"),
    ],
)  # fmt: skip
def test_malformed_captions(photos, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadData, match=message):
        open_captions(photos, tmp_path / name)


def test_a_line_longer_than_csv_has_room_for_is_left_out(photos, tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(f'image,caption\na.jpg,one\nb.jpg,{"x" * 200_000}\nc.jpg,"{"y" * 200_000}"\n')
    data = open_captions(photos, path, held_out=0)
    assert said(data.train) == {"a.jpg": ("one",)}
    assert data.notes[0].startswith("2 captions of more than 2,000 characters left out (the first: ")


def test_half_a_character_is_left_out_and_told(photos, tmp_path):
    path = tmp_path / "c.jsonl"
    rows = [{"image": "a.jpg", "caption": text} for text in ("a \ud800 dog", "a \U0001f415 dog")]
    rows += [{"image": "b\udc00.jpg", "caption": "a cat"}, {"image": "b.jpg", "caption": "a cat"}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = open_captions(photos, path, held_out=0)
    assert said(data.train) == {"a.jpg": ("a \U0001f415 dog",), "b.jpg": ("a cat",)}
    assert data.notes[:2] == (
        f"1 of 3 pictures is missing, and the captions left out ('b\\udc00.jpg', {path}:3)",
        f"1 caption with half a character left out ({path}:1, U+D800)",
    )


@pytest.mark.parametrize(
    "name", ["{home}/other/x.jpg", "../other/x.jpg", "a/../../other/x.jpg", "x" * 5000, "\0", "../a.jpg"]
)
def test_a_picture_outside_of_the_folder_is_missing(photos, tmp_path, name):
    picture(tmp_path / "other" / "x.jpg"), picture(tmp_path / "a.jpg")
    rows = [{"image": other, "caption": "one"} for other in ("b.jpg", "c.jpg", name.format(home=tmp_path))]
    (photos / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = open_captions(photos, held_out=0)
    assert said(data.train) == {"b.jpg": ("one",), "c.jpg": ("one",)}
    assert data.notes[0].startswith("1 of 3 pictures is missing") and len(data.notes[0]) < 500
    (photos / "m.jsonl").rename(tmp_path / "m.jsonl")
    assert said(open_captions(photos, tmp_path / "m.jsonl", held_out=0).train) == said(data.train)


def test_folders_outside_of_the_one_that_was_named(photos, tmp_path):
    picture(tmp_path / "other" / "x.jpg")
    content = {"images": [{"filename": "x.jpg", "filepath": "../other", "sentences": [{"raw": "one"}]}]}
    (photos / "k.json").write_text(json.dumps(content))
    with pytest.raises(BadData, match=r"images\[0\]: picture 'x\.jpg' is not in"):
        open_captions(photos)


def test_pictures_by_their_whole_paths_and_from_the_captions_own_folder(photos, tmp_path, monkeypatch):
    """Within the folder it is the same picture, however it is called; moved data is found by the last part."""
    (tmp_path / "said").mkdir()
    path = tmp_path / "said" / "m.jsonl"
    names = (str(photos / "a.jpg"), "../photos/b.jpg", "/elsewhere/c.jpg", "d.jpg")
    path.write_text("".join(f"{json.dumps({'image': name, 'caption': 'one'})}\n" for name in names))
    monkeypatch.chdir(tmp_path)
    data = open_captions("photos", path, held_out=0)
    assert said(data.train) == {name: ("one",) for name in NAMES} and not data.notes


def test_what_is_not_there_or_there_twice(photos, tmp_path):
    with pytest.raises(BadData, match=r"photos has no captions\. Known: COCO's captions_\*\.json, Karpathy"):
        open_captions(photos)
    with pytest.raises(BadData, match="nowhere does not exist"):
        open_captions(tmp_path / "nowhere")
    with pytest.raises(BadData, match=r"none\.json does not exist"):
        open_captions(photos, tmp_path / "none.json")
    with pytest.raises(BadData, match="is a file: the folder of the pictures is needed"):
        open_captions(photos / "a.jpg")
    with pytest.raises(BadOption, match="a share of -1 cannot be held out"):
        open_captions(photos, held_out=-1)
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadData, match="has no pictures"):
        open_captions(tmp_path / "bare")
    flickr(tmp_path / "f.txt"), flickr(tmp_path / "lemma.txt")
    with pytest.raises(
        BadData, match=r"several lists of captions: f\.txt \(Flickr8k.*lemma\.txt.*Name the one to take"
    ):
        open_captions(photos, tmp_path)
    with pytest.raises(BadData, match=r"captions in several formats: f\.txt \(Flickr8k's.*c\.json \(COCO"):
        open_captions(photos, [tmp_path / "f.txt", coco(tmp_path / "c.json")])
    with pytest.raises(BadData, match="is a folder: name one folder, or files"):
        open_captions(photos, [tmp_path / "f.txt", tmp_path])


@pytest.mark.data
def test_coco_mini(data_dir):
    folder = data_dir / "coco_mini"
    data = open_captions(folder)
    assert (len(data.train), len(data.held_out), data.format, data.notes) == (80, 79, "COCO captions", ())
    assert all(len(sample.said) >= 5 and sample.picture.is_file() for sample in data.train + data.held_out)
    alone = open_captions(folder / "train2017", folder / "annotations" / "captions_train2017.json", held_out=0.1)
    assert (len(alone.train), len(alone.held_out), alone.notes) == (72, 8, ())
