"""Train a representation on drawn people, and tell apart others whom it has never seen.

No photograph is needed: the people are drawn, and their landmarks known. About a minute.
"""

import torch

from isotrain.data.synthetic import faces_dataset
from isotrain.faces.prepare import people
from isotrain.tasks.faces import Faces
from isotrain.train.loop import fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import RunFolder, load_run

torch.set_num_threads(2)
options = {"alignment": "3d", "size": 48, "dims": 32, "width": 0.25, "linear": 32}
dataset, _ = people(faces_dataset(train=300, held_out=60, test=120, seed=1), options, held_out=0.0, seed=0)
task = Faces(Faces.plan(dataset, options))
outcome = fit(task, dataset, RunFolder("runs/drawn-people"), Plan(epochs=6, batch=30))
scores = outcome.scores["test"]
print(f"{100 * scores['accuracy']:.0f}% of pairs of people never seen are answered right, AUC {scores['AUC']:.3f}")

task, net, _ = load_run("runs/drawn-people")
crops = torch.stack([sample.picture for sample in dataset.test[:2]]).float() / 255
first, second = task.embed(net, crops)
print(f"two pictures of one person: similarity {first @ second:.2f}")
