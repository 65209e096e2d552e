import sys

from nanollm.cli import main

sys.exit(main())
