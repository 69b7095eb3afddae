"""`python -m homeostat`: the command line, where its own script is not on the path."""

from homeostat.cli import main

if __name__ == "__main__":
    main()
