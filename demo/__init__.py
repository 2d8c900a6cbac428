"""The main job, played on the real server and checked step by step: `make demo`."""
