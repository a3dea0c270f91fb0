"""The sandbox: foreign code is run so that it can do nothing but answer.

    from headscript.sandbox import Sandbox, Sentence

    with Sandbox() as sandbox:
        (outcome,) = sandbox.run(source, "attend", [Sentence("Hi there", (5, 9), ("Hi", "Ġthere"))])

`pool` is what the rest of the project uses. A `parent` process that never ran foreign code forks a
child for each run; the `child` gives up what it could do by `policy` (`landlock`, `seccomp` and
limits), and only then reads the program.
"""

from headscript.sandbox.isolation import Isolation, isolation
from headscript.sandbox.policy import Limits
from headscript.sandbox.pool import Outcome, Sandbox
from headscript.sandbox.sentence import Sentence

__all__ = ["Isolation", "Limits", "Outcome", "Sandbox", "Sentence", "isolation"]
