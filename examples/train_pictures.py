"""A task from Python: pictures of one shape each, a small residual net, and a run folder to go on from."""

from pathlib import Path
from tempfile import mkdtemp

from isotrain.data.synthetic import shapes_dataset
from isotrain.tasks.classify import Classify
from isotrain.train.loop import fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import RunFolder, load_run

dataset = shapes_dataset(train=1500, held_out=100, test=100, seed=0)
task = Classify(Classify.plan(dataset, {"net": "resnet8"}))
folder = RunFolder(Path(mkdtemp()) / "shapes")

outcome = fit(task, dataset, folder, Plan(epochs=4, batch=32))
print(f"{outcome.steps} steps; right on {100 * outcome.scores['test']['accuracy']:.0f} % of the test pictures")

task, net, card = load_run(folder.path)
sample = dataset.test[0]
answer = task.predict(net, sample.picture).answer
print(f"a {dataset.classes[sample.labels[0]]}, taken for a {answer['class']}")
