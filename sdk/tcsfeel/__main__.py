"""Run the command as ``python -m tcsfeel``."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory: nothing is imported from there

    from tcsfeel.cli import main

    main()
