"""Every Python that the tests start loads this first: it looks for garbage seldom, an eighth of a server's start."""

import gc

gc.set_threshold(50_000, 20, 50)
