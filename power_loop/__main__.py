"""`python -m power_loop` is `power-loop`."""

from power_loop.cli import main

if __name__ == "__main__":
    main()
