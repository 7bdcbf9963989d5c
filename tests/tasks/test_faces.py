"""The task of faces: its losses against loops, its order, its scores on known vectors, and that it learns."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from isotrain import Riemannian
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.data.synthetic import faces_dataset
from isotrain.errors import BadCheckpoint, BadData, BadOption, UnknownName
from isotrain.faces.aligning import Aligner
from isotrain.faces.parts import Marked
from isotrain.nets.faces import LENGTH
from isotrain.tasks.faceloss import APART, CLOSER, LOSSES, MARGIN, contrastive, margin, softmax, triplet
from isotrain.tasks.faces import Faces, all_pairs, defaults, pair_scores
from isotrain.train.batches import Batches, stream

TINY = {"size": 32, "width": 0.1, "dims": 16}


def aligned(dataset: Dataset, size: int = 32) -> Dataset:
    """The same faces, turned and scaled upright by their true landmarks, in grey."""
    aligner = Aligner("2d", size, 1)

    def part(samples: list[Sample]) -> list[Sample]:
        points = torch.stack([torch.tensor(sample.things[0].points) for sample in samples])
        boxes = torch.tensor([sample.things[0].box for sample in samples])
        pictures = [sample.picture for sample in samples]
        crops = aligner.crops(pictures, boxes, Marked(points, torch.ones(len(points)))).crops
        crops = crops.mul(255).round().to(torch.uint8)
        return [Sample(crop, one.labels, name=one.name) for crop, one in zip(crops, samples, strict=True)]

    return Dataset(dataset.classes, part(dataset.train), part(dataset.held_out), source="drawn", format="aligned")


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    return aligned(faces_dataset(train=32, held_out=16, test=0, size=48, each=4))


def planned(dataset: Dataset, **options) -> Faces:
    return Faces(Faces.plan(dataset, {**TINY, **options}))


def units(n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return nn.functional.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64))


def shown(counts: list[int]) -> list[Sample]:
    people = [person for person, count in enumerate(counts) for _ in range(count)]
    return [Sample(torch.zeros(1, 2, 2, dtype=torch.uint8), (p,), name=str(n)) for n, p in enumerate(people)]


# --- losses --------------------------------------------------------------------------------------------------

some_people = st.lists(st.integers(0, 3), min_size=2, max_size=9)


@given(people=some_people, seed=st.integers(0, 99))
def test_contrastive_is_its_loop(people, seed):
    vectors = units(len(people), 3, seed)
    near, short = [], []
    for i in range(len(people)):
        for j in range(len(people)):
            if i == j:
                continue
            apart = float((vectors[i] - vectors[j]).norm())
            if people[i] == people[j]:
                near.append(apart**2)
            elif apart < APART:
                short.append((APART - apart) ** 2)
    expected = sum(near) / max(1, len(near)) + sum(short) / max(1, len(short))
    assert float(contrastive(vectors, torch.tensor(people))) == pytest.approx(expected, abs=1e-6)


@given(people=some_people, seed=st.integers(0, 99))
def test_triplet_is_its_loop(people, seed):
    vectors = units(len(people), 3, seed)
    found = []
    for i in range(len(people)):
        for j in range(len(people)):
            if i == j or people[i] != people[j]:
                continue
            near = float((vectors[i] - vectors[j]).square().sum())
            others = [
                float((vectors[i] - vectors[k]).square().sum()) for k in range(len(people)) if people[k] != people[i]
            ]
            farther = [far for far in others if far > near]
            if not others:
                found.append(0.0)
            else:
                found.append(max(0.0, near - (min(farther) if farther else max(others)) + CLOSER))
    expected = sum(found) / max(1, len(found))
    assert float(triplet(vectors, torch.tensor(people))) == pytest.approx(expected, abs=1e-9)


@given(people=some_people, seed=st.integers(0, 99))
def test_margin_is_its_loop(people, seed):
    cosines = (2 * torch.rand(len(people), 4, generator=torch.Generator().manual_seed(seed)) - 1).double()
    each = []
    for row, person in zip(cosines.tolist(), people, strict=True):
        logits = [LENGTH * c for c in row]
        logits[person] = LENGTH * math.cos(min(math.pi, math.acos(row[person]) + MARGIN))
        each.append(math.log(sum(map(math.exp, logits))) - logits[person])
    expected = sum(each) / len(each)
    logits = (LENGTH * cosines).requires_grad_()
    loss = margin(logits, torch.tensor(people))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() > softmax(logits, torch.tensor(people)).item()
    # Its gradient is a cross-entropy's: chance less what is true, so that rows add up to nothing.
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.sum(1).abs().max() < 1e-12
    assert (slope.gather(1, torch.tensor(people)[:, None]) < 0).all()


def test_softmax_is_its_loop():
    logits = torch.randn(5, 3, dtype=torch.float64)
    people = torch.tensor([0, 2, 1, 1, 0])
    each = [-math.log(float(row.exp()[p] / row.exp().sum())) for row, p in zip(logits, people, strict=True)]
    assert float(softmax(logits, people)) == pytest.approx(sum(each) / 5)


@pytest.mark.parametrize("name", ["contrastive", "triplet"])
@pytest.mark.parametrize("people", [[0, 0, 0], [0, 1, 2], [0]], ids=["one person", "strangers", "one face"])
def test_losses_of_pairs_stay_finite_where_a_kind_is_missing(name, people):
    """Also for equal faces, whose distance has no slope."""
    vectors = units(len(people), 4, 0)
    vectors[-1] = vectors[0]
    vectors.requires_grad_()
    loss = LOSSES[name].of(vectors, torch.tensor(people))
    loss.backward()
    assert loss.isfinite() and vectors.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_a_batch_does_not_matter(name):
    people = torch.tensor([0, 0, 1, 1, 2, 3])
    given = LENGTH * units(6, 4, 1)[:, :4] if LOSSES[name].by_person else units(6, 4, 1)
    turn = torch.randperm(6)
    torch.testing.assert_close(LOSSES[name].of(given[turn], people[turn]), LOSSES[name].of(given, people))


def descended(name: str) -> list[tuple[float, float, float]]:
    """Loss, the least similarity of mates and the largest of strangers, before and after stepping down."""
    people = torch.tensor([0, 0, 1, 1, 2, 2])
    raw = units(6, 8, 3).requires_grad_()
    optimizer = torch.optim.SGD([raw], 0.1)
    found = []
    for step in range(301):
        optimizer.zero_grad()
        vectors = nn.functional.normalize(raw)
        loss = LOSSES[name].of(vectors, people)
        if step % 300 == 0:
            similarity, same = all_pairs(vectors.detach(), people)
            found.append((loss.item(), similarity[same].min().item(), similarity[~same].max().item()))
        loss.backward()
        optimizer.step()
    return found


def test_stepping_down_the_contrastive_loss_parts_people():
    (before, near, far), (after, nearest, farthest) = descended("contrastive")
    assert after < before / 100 and near < far
    assert nearest > 0.95 and farthest < 0.6  # 0.5 is the cosine at a distance of `APART`


def test_stepping_down_the_triplet_loss_lowers_it():
    """Not always to where mates are nearest: others that are nearer than a mate are passed over (semi-hard)."""
    (before, near, _), (after, nearest, _) = descended("triplet")
    assert after < before / 2 and nearest > near


# --- the order of an epoch -----------------------------------------------------------------------------------


@given(counts=st.lists(st.integers(0, 7), min_size=1, max_size=12), seed=st.integers(0, 20))
def test_an_epoch_uses_every_face_once_and_puts_mates_together(counts, seed):
    samples = shown(counts)
    task = Faces({"classes": [], "loss": "triplet", "size": 32, "channels": 1})
    order = task.order(samples, torch.Generator().manual_seed(seed), 8)
    assert sorted(order) == list(range(len(samples)))
    people = [samples[place].labels[0] for place in order]
    pairs, at = 0, 0
    while at < len(people) - 1:
        together = people[at] == people[at + 1]
        pairs, at = pairs + together, at + (2 if together else 1)
    assert pairs >= sum(count // 2 for count in counts)
    assert order == task.order(samples, torch.Generator().manual_seed(seed), 8)


def test_lone_faces_are_strewn_between_the_pairs():
    samples = shown([2] * 40 + [1] * 20)
    task = Faces({"classes": [], "loss": "contrastive", "size": 32, "channels": 1})
    order = task.order(samples, torch.Generator().manual_seed(0), 8)
    alone = [at for at, place in enumerate(order) if samples[place].labels[0] >= 40]
    assert all(len([at for at in alone if start <= at < start + 25]) >= 2 for start in (0, 25, 50, 75))


def test_losses_by_person_go_through_at_random():
    samples = shown([2] * 50)
    task = Faces({"classes": [], "loss": "softmax", "size": 32, "channels": 1})
    order = task.order(samples, torch.Generator().manual_seed(0), 8)
    assert sorted(order) == list(range(100))
    assert sum(order[at] // 2 == order[at + 1] // 2 for at in range(99)) < 8


def test_batches_ask_the_task_for_the_order_of_each_epoch():
    samples = shown([2] * 10)
    task = Faces({"classes": [], "loss": "triplet", "size": 32, "channels": 1})
    batches = Batches(task, Shelf(samples, task.load), 4, seed=3)
    assert batches.epoch == 5
    for epoch in (0, 1, 0):
        places = [place for step in range(5) for place in batches.places(5 * epoch + step)]
        assert places == task.order(samples, stream(3, 0, epoch), 8)
        assert all(places[at] // 2 == places[at + 1] // 2 for at in range(0, 20, 2))
    assert batches.places(0) != batches.places(5)


# --- batches -------------------------------------------------------------------------------------------------


def test_a_batch_is_varied_by_its_generator_alone(drawn):
    task = planned(drawn)
    loaded = [task.load(sample) for sample in drawn.train[:6]]
    one, again, other = (task.batch(loaded, torch.Generator().manual_seed(s)).inputs[0] for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == (6, 1, 32, 32) and one.min() >= 0 and one.max() <= 1
    plain = task.batch(loaded, None)
    assert torch.equal(plain.inputs[0][0], drawn.train[0].picture.float() / 255)
    assert plain.targets["people"].tolist() == [0, 0, 0, 0, 1, 1]


def test_faces_are_mirrored_unless_told_otherwise(drawn, monkeypatch):
    from isotrain.tasks import faces as module

    for name in ("rescanned", "recoloured", "lit", "coarse", "covered"):
        monkeypatch.setattr(module, name, lambda inputs, generator: inputs)
    picture = torch.zeros(1, 32, 32, dtype=torch.uint8)
    picture[:, 8:24, 4:8] = 255
    data = [Sample(picture, (0,), name="a")] * 40
    for mirror in (True, False):
        task = Faces({"classes": [], "loss": "softmax", "size": 32, "channels": 1, "mirror": mirror})
        (inputs,) = task.batch([task.load(s) for s in data], torch.Generator().manual_seed(0)).inputs
        left, right = inputs[..., :16].sum((1, 2, 3)), inputs[..., 16:].sum((1, 2, 3))
        share = float((right > left).float().mean())
        assert 0.3 < share < 0.7 if mirror else share == 0


def test_crops_of_another_size_are_fitted(drawn):
    task = planned(drawn, size=48)
    assert task.load(drawn.train[0]).crop.shape == (1, 48, 48)
    with pytest.raises(BadData, match=r"list\.csv:3: one person is needed, there are 2"):
        task.load(Sample(drawn.train[0].picture, (0, 1), name="a", where="list.csv:3"))


# --- the card ------------------------------------------------------------------------------------------------


def test_a_card_names_all_that_makes_the_net(drawn):
    card = Faces.plan(drawn, TINY)
    assert card["size"] == 32 and card["dims"] == 16 and card["alignment"] == "3d" and card["loss"] == "margin"
    assert card["channels"] == 1 and card["classes"] == list(drawn.classes[:8])  # those learned from
    net = Faces(card).net()
    assert net.people.weight.shape == (8, 16)
    assert json.loads(json.dumps(card)) == card
    assert planned(drawn, loss="triplet").net().people is None
    assert defaults("deepface")["size"] == 152 and defaults("residual")["size"] == 96


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"sise": 96}, UnknownName, "'sise'"),
        ({"net": "vgg"}, UnknownName, "'vgg'"),
        ({"loss": "hinge"}, UnknownName, "'hinge'"),
        ({"alignment": "4d"}, UnknownName, "'4d'"),
        ({"size": 40}, BadOption, "size=40 must be a multiple of 16"),
        ({"size": "96"}, BadOption, "size='96'"),
        ({"size": True}, BadOption, "size=True"),
        ({"size": 4096}, BadOption, "size=4096"),
        ({"dims": 1}, BadOption, "dims=1"),
        ({"dims": 12.5}, BadOption, r"dims=12\.5"),
        ({"width": 0}, BadOption, "width=0"),
        ({"width": "wide"}, BadOption, "width='wide'"),
        ({"width": float("nan")}, BadOption, "width=nan"),
        ({"begin": "nowhere/at/all"}, BadOption, "nowhere/at/all"),
        ({"net": "deepface", "size": 64}, BadOption, "size=64"),
    ],
)
def test_options_that_cannot_be_are_refused(drawn, options, error, said):
    with pytest.raises(error, match=said):
        Faces.plan(drawn, options)


def test_data_that_cannot_be_learned_from_is_refused(drawn):
    with pytest.raises(BadData, match="no faces to learn from"):
        Faces.plan(Dataset(("a",), [], source="here"), {})
    with pytest.raises(BadData, match="1 people"):
        Faces.plan(Dataset(drawn.classes, drawn.train[:4]), {})
    with pytest.raises(BadData, match="at most 1 times"):
        Faces.plan(Dataset(drawn.classes, drawn.train[::4]), {})


# --- scores --------------------------------------------------------------------------------------------------


def test_perfect_vectors_score_one_and_have_no_errors():
    people = torch.arange(12).repeat_interleave(3)
    scores = pair_scores(torch.eye(12)[people], people)
    assert (scores["accuracy"], scores["AUC"], scores["EER"]) == (1, 1, 0)
    assert scores["pairs of one person"] == 36 and scores["pairs of two"] == 36 * 35 // 2 - 36
    assert scores["TAR at FAR 0.01"] == 1.0
    assert scores["TAR at FAR 0.001"] is None  # 594 pairs cannot tell


def test_chance_scores_a_half():
    people = torch.arange(60).repeat_interleave(3)
    scores = pair_scores(units(180, 24, 0).float(), people)
    assert scores["accuracy"] == pytest.approx(0.5, abs=0.08)
    assert scores["AUC"] == pytest.approx(0.5, abs=0.08)


def test_some_right_and_some_wrong():
    """Of each half of the people, half the pairs of one person are as unlike as strangers: three quarters are right."""
    vectors, people = [], []
    for person in range(8):
        kind = person % 4 < 2  # the first two of four are known again
        for picture in range(2):
            vectors.append(2 * person + (0 if kind else picture))
            people.append(person)
    scores = pair_scores(torch.eye(16)[vectors], torch.tensor(people))
    assert scores["accuracy"] == pytest.approx(0.75)
    assert scores["AUC"] == pytest.approx(0.75)


@given(seed=st.integers(0, 50))
def test_scores_do_not_hang_on_numbers_of_people_or_a_rotation(seed):
    generator = torch.Generator().manual_seed(seed)
    people = torch.arange(10).repeat_interleave(3)
    vectors = nn.functional.normalize(units(10, 8, seed)[people] + 0.5 * units(30, 8, seed + 1))
    once = pair_scores(vectors, people)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))[0]
    assert pair_scores(vectors @ turn, people + 100)["AUC"] == pytest.approx(once["AUC"])
    assert pair_scores(vectors @ turn, 7 * people + 3)["accuracy"] == pytest.approx(once["accuracy"])


@pytest.mark.parametrize("people", [[0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 1, 1]])
def test_too_few_people_to_score(people):
    with pytest.raises(BadData, match="too few people"):
        pair_scores(torch.eye(4), torch.tensor(people))


def test_all_pairs():
    similarity, same = all_pairs(torch.eye(2)[[0, 0, 1]], torch.tensor([5, 5, 6]))
    assert similarity.tolist() == [1, 0, 0] and same.tolist() == [True, False, False]


# --- the whole -----------------------------------------------------------------------------------------------


def test_a_mirrored_crop_has_the_same_vector(drawn):
    task = planned(drawn)
    net = task.net().eval()
    crops = torch.rand(3, 1, 32, 32)
    vectors = task.embed(net, crops)
    torch.testing.assert_close(task.embed(net, crops.flip(3)), vectors, atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert task.embed(net, crops[:0]).shape == (0, vectors.shape[1])
    picture = (crops[0] * 255).round().to(torch.uint8)
    told = torch.tensor(task.predict(net, picture).answer["vector"])
    torch.testing.assert_close(told, task.embed(net, picture[None].float() / 255)[0])
    assert task.draw(picture, task.predict(net, picture)).size == (32, 32)
    assert net(*task.example()).shape == (2, 8)
    torch.testing.assert_close(task.exported(net)(crops)["vectors"], vectors)


def learn(task: Faces, dataset: Dataset, steps: int) -> nn.Module:
    torch.manual_seed(0)
    net = task.net()
    optimizer = Riemannian(net, likelihood=task.likelihood)
    batches = Batches(task, Shelf(dataset.train, task.load), 32, seed=0)
    for step in range(steps):
        batch = batches[step]
        found = task.loss(net(*batch.inputs), batch.targets)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    return net.eval()


@pytest.mark.parametrize("loss", ["margin", "contrastive"])
def test_it_learns_to_tell_people_apart(drawn, loss):
    """Eight drawn people, sixty steps of a narrow net: known better than by the gradients that no step has touched."""
    task = planned(drawn, loss=loss)
    shelf = Shelf(drawn.train, task.load)
    before = pair_scores(*task.vectors(learn(task, drawn, 0), shelf))
    net = learn(task, drawn, 60)
    after = pair_scores(*task.vectors(net, shelf))
    assert after["accuracy"] > max(0.8, before["accuracy"]), (before, after)
    assert after["AUC"] > before["AUC"] + 0.05, (before, after)
    # Of people it has never seen it still says more than nothing.
    held = Shelf(drawn.held_out, task.load)
    scores = task.evaluate(net, held)
    assert scores["AUC"] > 0.6
    assert task.weigh(net, held, 8) == pytest.approx(1 - scores["AUC"])


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_it_learns_to_tell_strangers_apart(loss):
    """Fifty drawn people: twenty others are told apart better than by the gradients that no step has touched."""
    data = aligned(faces_dataset(train=300, held_out=120, test=0, size=48, each=6))
    task = planned(data, loss=loss, width=0.17, dims=32)
    shelf = Shelf(data.held_out, task.load)
    before, after = (task.evaluate(learn(task, data, steps), shelf) for steps in (0, 300))
    assert after["accuracy"] > 0.8, (before, after)
    assert after["AUC"] > before["AUC"], (before, after)


def test_scores_are_told_as_they_come_and_need_faces(drawn):
    task = planned(drawn)
    net, ticks = task.net().eval(), []
    task.evaluate(net, Shelf(drawn.held_out, task.load), ticks.append)
    assert sum(ticks) == 16 and task.open_set
    with pytest.raises(BadData, match="no faces to score"):
        task.evaluate(net, Shelf([], task.load))
    assert task.weigh(net, Shelf(drawn.held_out[:4], task.load), 8) == 0.5  # one person alone tells nothing


def test_a_run_begins_from_anothers_weights(drawn, tmp_path):
    first = planned(drawn, loss="softmax")
    net = first.net()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    for loss, people in (("softmax", 3), ("triplet", 8), ("margin", 8)):
        some = Dataset(drawn.classes[:people], drawn.train[: 4 * people])
        for place in (tmp_path, tmp_path / "model.safetensors"):
            task = planned(some, loss=loss, begin=str(place))
            torch.manual_seed(5)
            second = task.net()
            task.begin(second)
            for name, value in second.state_dict().items():
                if name.startswith("people.") and people == 3:
                    assert value.shape == (3, 16)
                else:
                    assert torch.equal(value, net.state_dict()[name]), name
    other = planned(drawn, begin=str(tmp_path), dims=8)
    with pytest.raises(BadCheckpoint, match="not this net's"):
        other.begin(other.net())
