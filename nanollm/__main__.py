"""`python -m nanollm`: see nanollm/cli/main.py."""

import sys

from nanollm.cli.main import main

sys.exit(main())
