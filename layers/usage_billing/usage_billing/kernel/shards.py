"""The shards of sparse indexes: items of an index are spread over sixteen partitions. Pure."""

import zlib

SHARDS = 16


def shard_of(name: str) -> str:
    """Return the shard of a sparse index in which a ledger or an invoice is listed: "0" to "15"."""
    return str(zlib.crc32(name.encode()) % SHARDS)
