"""The store on a real disk keeps its contract."""

from contracts.store_contract import StoreContract


class TestStoreOnDisk(StoreContract):
    """All of it."""
