import sys

from nanollm.cli.main import main

sys.exit(main())
