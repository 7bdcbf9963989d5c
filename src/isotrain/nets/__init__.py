"""Networks: plain modules on torch's own layers, read from top to bottom, shapes in comments."""
