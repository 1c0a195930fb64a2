"""`python -m zegel.store`: the process of the store zone."""

from zegel.node.zone import run_zone

if __name__ == "__main__":
    run_zone("store", "zegel.store.zone")
