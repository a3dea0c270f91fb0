"""`python -m headscript` is the command line."""

from headscript.cli import main

if __name__ == "__main__":
    main()
