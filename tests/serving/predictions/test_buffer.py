"""What waits behind the answers."""

from concurrent.futures import ThreadPoolExecutor

from serving.predictions.buffer import Buffer


def test_what_there_is_no_room_for_is_left_out() -> None:
    """The oldest stays; no one who puts is kept waiting."""
    buffer: Buffer[int] = Buffer(3)
    assert buffer.put([1, 2]) == 0
    assert buffer.put([3, 4, 5]) == 2
    assert buffer.put([]) == 0
    assert len(buffer) == 3
    assert buffer.take(2) == [1, 2]
    assert buffer.put([6]) == 0
    assert buffer.take(9) == [3, 6]


def test_closed_buffer_is_emptied_and_takes_nothing_more() -> None:
    """The one who takes learns of the end by an empty answer."""
    buffer: Buffer[int] = Buffer(3)
    buffer.put([1, 2])
    buffer.close()
    assert buffer.put([3]) == 1
    assert (buffer.take(1), buffer.take(9), buffer.take(9)) == ([1], [2], [])


def test_whoever_takes_is_woken() -> None:
    """By what is put, and by the end; a batch that is full is not waited for any longer."""
    buffer: Buffer[int] = Buffer(9)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(buffer.take, 2, gather_s=3600.0)
        buffer.put([1])
        buffer.put([2])
        assert taken.result(timeout=60) == [1, 2]
        taken = pool.submit(buffer.take, 2, gather_s=3600.0)
        buffer.put([3])
        buffer.close()
        assert taken.result(timeout=60) == [3]


def test_nothing_is_lost_between_threads() -> None:
    """Several put at once."""
    buffer: Buffer[int] = Buffer(10_000)
    with ThreadPoolExecutor(4) as pool:
        dropped = sum(pool.map(lambda start: buffer.put(range(start, start + 100)), range(0, 2_000, 100)))
    buffer.close()
    taken: list[int] = []
    while part := buffer.take(70):
        taken += part
    assert (dropped, sorted(taken)) == (0, list(range(2_000)))
