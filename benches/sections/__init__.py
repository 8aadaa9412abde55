"""One file for each part of the benchmark: `TITLE`, and `run(world, options)`, which gives a measure.Result."""
