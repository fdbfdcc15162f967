"""The shards of sparse indexes: what is listed in one is spread over sixteen partitions."""

import zlib

SHARDS = 16


def shard_of(name: str) -> str:
    """The shard of a sparse index that a ledger or an invoice is listed in: "0" to "15"."""
    return str(zlib.crc32(name.encode()) % SHARDS)
