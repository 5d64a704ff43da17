"""Who acts is in the context, and goes on to the tasks that are started inside."""

import asyncio

from app.origins import ADMIN_KEY, AGENT, SERVER, Origin, acting, context_of, current_origin


async def test_what_is_inside_has_the_actor_and_the_request_and_what_follows_has_not() -> None:
    assert current_origin() == Origin(SERVER, None)
    with acting(request_id="r"):
        assert current_origin() == Origin(SERVER, "r")
        with acting(ADMIN_KEY):
            assert current_origin() == Origin(ADMIN_KEY, "r")
            with acting(AGENT):
                assert current_origin() == Origin(AGENT, "r")
            with acting(None):
                assert current_origin() == Origin(ADMIN_KEY, "r")
        assert current_origin() == Origin(SERVER, "r")
    assert current_origin() == Origin(SERVER, None)


async def test_tasks_inherit_the_origin_and_loops_of_a_server_have_its_name() -> None:
    async def look() -> Origin:
        return current_origin()

    with acting(ADMIN_KEY, request_id="r"):
        inherited = asyncio.create_task(look())
        ours = asyncio.create_task(look(), context=context_of("server-1"))
        assert current_origin() == Origin(ADMIN_KEY, "r")
    assert await inherited == Origin(ADMIN_KEY, "r")
    assert await ours == Origin("server-1", None)
