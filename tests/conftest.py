"""What all tests share."""

import os

# Matrices of the tests are tiny: several threads would only wait for each other, most of all beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
