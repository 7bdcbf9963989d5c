"""Training a task on data: the loop, the folder a run leaves, the recipes."""
