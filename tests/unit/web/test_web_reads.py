"""Few questions about rows are worked on at once, and few of their answers are under way."""

import asyncio

from gaugehouse.web.reads import ReadGate

ROWS = "/v1/measurements"


class Asked:
    """An application that says when it works, and answers when it is told to."""

    def __init__(self):
        self.working, self.most = 0, 0
        self.answers, self.ends = asyncio.Event(), asyncio.Event()

    async def __call__(self, _scope, _receive, send):
        self.working += 1
        self.most = max(self.most, self.working)
        await self.answers.wait()
        self.working -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.ends.wait()
        await send({"type": "http.response.body", "body": b""})


async def ask(gate, path=ROWS, method="GET"):
    """Return the status of one request."""
    sent = []

    async def send(message):
        sent.append(message)

    await gate({"type": "http", "method": method, "path": path, "headers": []}, None, send)
    return sent[0]["status"]


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_questions_wait_for_each_other_until_the_first_byte():
    async def run():
        app = Asked()
        gate = ReadGate(app, worked_on=2, under_way=10)
        asked = [asyncio.create_task(ask(gate)) for _ in range(5)]
        await settle()
        assert app.working == 2
        app.answers.set()
        await settle()
        assert app.most == 2
        app.ends.set()
        assert await asyncio.gather(*asked) == [200] * 5

    asyncio.run(run())


def test_one_answer_too_many_is_refused_and_nothing_else_is():
    async def run():
        app = Asked()
        gate = ReadGate(app, worked_on=1, under_way=3)
        app.answers.set()
        slow = [asyncio.create_task(ask(gate)) for _ in range(3)]
        await settle()
        assert await ask(gate) == 503
        others = [
            asyncio.create_task(ask(gate, *asked)) for asked in ((ROWS, "POST"), ("/v1/latest",), ("/v1/components",))
        ]
        await settle()
        app.ends.set()
        assert await asyncio.gather(*slow, *others) == [200] * 6
        assert await ask(gate) == 200

    asyncio.run(run())


def test_an_answer_that_fails_makes_room():
    async def broken(*_):
        raise ZeroDivisionError

    async def run():
        gate = ReadGate(broken, worked_on=1, under_way=1)
        for _ in range(3):
            assert [type(found) for found in await asyncio.gather(ask(gate), return_exceptions=True)] == [
                ZeroDivisionError
            ]

    asyncio.run(run())
