"""The parts of an upload that is not complete."""

from app.domain.uploads import UploadPart, WrongOffset, offset_of


def part(begins: int, size: int) -> UploadPart:
    return UploadPart(task_id="t.1.a.fit", client_id="a", begins=begins, size=size, sha256="0" * 64, seconds=0.5)


def test_a_part_ends_after_its_last_byte() -> None:
    assert part(0, 1).ends == 1
    assert part(5, 7).ends == 12


def test_an_upload_has_as_many_bytes_as_its_last_part_ends_at() -> None:
    assert offset_of([]) == 0
    assert offset_of([part(0, 5)]) == 5
    assert offset_of([part(0, 5), part(5, 7)]) == 12


def test_a_wrong_offset_says_where_to_go_on() -> None:
    error = WrongOffset(3, 12)
    assert str(error) == "Upload-Offset is 3, and 12 bytes of the result are here: go on from there"
    assert (error.sent, error.offset) == (3, 12)
