"""A process that answers items as a worker does, and says in a file which it was given.

    scripted_worker.py FOLDER

What it does with an item is the item's first word: "do", "stumble" (die, the first time), "die",
"fail" or "break". It imports nothing that takes time, so that many can be started.
"""

import json
import os
import signal
import sys

folder = sys.argv[1]


def answer(item, **more):
    sys.stdout.write(json.dumps({"item": item, **more}) + "\n")
    sys.stdout.flush()


answer("")
for line in sys.stdin:
    item = line.rstrip("\n")
    with open(f"{folder}/given", "a") as given:  # noqa: PTH123
        given.write(f"{item}\n")
    kind = item.split()[0]
    stumbled = f"{folder}/{item}"
    if kind == "die" or (kind == "stumble" and not os.path.exists(stumbled)):  # noqa: PTH110
        open(stumbled, "w").close()  # noqa: PTH123
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "fail":
        answer(item, error="It cannot be done.")
    elif kind == "break":
        answer(item, broke="Traceback: a mistake")
    else:
        answer(item, peak=1000)
