"""The trainer's command line: ``python -m trainer --artifacts-uri <the run's folder> [flags]``."""

import os
import sys

from trainer.starting import start

if __name__ == "__main__":
    sys.exit(start(sys.argv[1:], os.environ))
