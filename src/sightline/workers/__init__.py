"""Several processes: front ends that speak HTTP, one that holds the models, one that watches."""
