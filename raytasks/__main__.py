"""`python -m raytasks`: the same as the `raytasks` command."""

from raytasks.cli import main

main()
