"""Decoders that several threads ask for first at the same time."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each struct is used first by four threads at once, which must not break the process. Forward references are resolved
# in Python, so that threads take turns in the middle of it.
FIRST_USES = """
from __future__ import annotations
import sys, threading
from typing import Literal, Optional
import msgspec
from homeostat.records.decoding import converted, decoder_of

sys.setswitchinterval(1e-6)
SOURCE = '''
class Inner(msgspec.Struct):
    a: Optional[Literal["x", "y"]] = None
    b: dict[str, list[int]] = {}
class Outer(msgspec.Struct):
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    text: str = ""
'''

def first_use(space, start, ask):
    start.wait()
    ask(space)

ASKS = {
    "decoder_of": lambda space: decoder_of(space["Outer"]).decode(b'{"inner": {"a": "x"}}'),
    "converted": lambda space: converted({"inner": {"a": "x"}}, space["Outer"]),
    "msgspec": lambda space: msgspec.json.decode(b'{"inner": {"a": "x"}}', type=space["Outer"]),
}
import types
for number in range(int(sys.argv[2])):
    module = types.ModuleType(f"made{number}")
    sys.modules[module.__name__] = module
    space = vars(module)
    space.update(msgspec=msgspec, Optional=Optional, Literal=Literal)
    exec("from __future__ import annotations" + SOURCE, space)
    start = threading.Barrier(4)
    threads = [threading.Thread(target=first_use, args=(space, start, ASKS[sys.argv[1]])) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print("done")
"""


@pytest.mark.parametrize("ask", ["decoder_of", "converted"])
def test_a_type_may_be_used_first_by_several_threads_at_once(ask: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FIRST_USES, ask, "300"], capture_output=True, text=True, check=False, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr[-2000:]
