"""`python -m heal` is the `heal` command: it runs the code of the folder it starts in."""

from heal.cli import run

if __name__ == "__main__":
    run()
