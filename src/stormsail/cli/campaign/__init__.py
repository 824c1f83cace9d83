"""`stormsail campaign`: the same operations on the same faulty cloud, the durable way and the polling way."""
