"""A Flower app whose clients add noise to the model, as the trainers of `benchmarks.fleet` do."""
