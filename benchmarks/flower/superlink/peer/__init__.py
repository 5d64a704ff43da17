"""Define a Flower app whose clients add noise to the model, like the trainers of `benchmarks.fleet`."""
