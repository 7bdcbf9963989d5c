"""`python -m isotrain` is the `isotrain` command."""

from isotrain.app.cli import main

main()
