"""The laboratory: does a trainer depend on how the network was written down, and how do trainers compare?

* `changes`: function-preserving rewrites of a model (`codes`, `layers`, `rewrite` and `inputs` carry them
  out);
* `problem`: a model, its data and its loss, as a user hands them over;
* `optimizers`: the table of trainers by name;
* `runs`: one training run; `audit` and `compare`: many of them, and what they say;
* `plots`, `page`, `report`: pictures, HTML and JSON; `demo`: the lecture's experiment.
"""
