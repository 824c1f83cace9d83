"""`python -m stormsail.cli`: how one command starts another on the same interpreter."""

from stormsail.cli.main import main

main()
