"""Buffers that are used again."""

from app.services.tasks.blocks import BLOCK_BYTES, Blocks


def test_a_buffer_that_was_given_back_is_used_again() -> None:
    blocks = Blocks()
    one, two = blocks.take(), blocks.take()
    assert len(one) == len(two) == BLOCK_BYTES
    assert one.obj is not two.obj
    blocks.give_back(one)
    assert blocks.take().obj is one.obj


def test_only_some_buffers_are_kept() -> None:
    blocks = Blocks()
    taken = [blocks.take() for _ in range(40)]
    for block in taken:
        blocks.give_back(block)
    kept = {id(blocks.take().obj) for _ in range(40)} & {id(block.obj) for block in taken}
    assert len(kept) == 32
