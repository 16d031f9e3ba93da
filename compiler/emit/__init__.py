"""Machinery that lowering rules share: scalars, addresses, tiles, memory chunks, control flow."""
