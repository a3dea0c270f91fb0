"""Programs that a run may be given."""

HEADER = "from headscript.language import log, run, softmax\n\n\n"
FAILING = HEADER + (
    'def attend(text, tilt=1.0):\n    """Fails."""\n'
    "    return softmax(tilt * (log(text.distance) - log(text.distance)))\n"
)
AHEAD = HEADER + (
    'def attend(text, tilt=1.5):\n    """Knows which token is the last."""\n'
    "    return softmax(tilt * text.last)\n"
)
LATEST = HEADER + (
    'def attend(text, tilt=1.5):\n    """Looks back a little."""\n'
    "    return softmax(-tilt * text.distance)\n"
)
