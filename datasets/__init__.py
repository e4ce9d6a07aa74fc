if __name__ != "gnnkit.datasets":
    raise ImportError("import gnnkit.datasets, not datasets")
