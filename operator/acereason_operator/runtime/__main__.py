"""`python -m acereason_operator.runtime`."""

import sys

from acereason_operator.runtime.main import main

if __name__ == "__main__":
    sys.exit(main())
