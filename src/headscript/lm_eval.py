"""The command line of lm-evaluation-harness with the model type "headscript" registered.

    python -m headscript.lm_eval --model headscript --model_args run=RUN,replace=0.25 --tasks piqa

takes all options of `lm_eval`. The task files for local questions (local_piqa and so on) are found
too, unless --include_path says where to look instead.
"""

from __future__ import annotations

import sys

from headscript.errors import HeadscriptError
from headscript.evaluation.tasks import FOLDER
from headscript.evaluation.tasks.loading import require_harness


def main() -> None:
    """Run the harness's command line; a mistake is told as in our own, with exit code 2."""
    try:
        require_harness()
        from lm_eval.__main__ import cli_evaluate

        import headscript.evaluation.harness  # noqa: F401  # registers the model type

        given = " ".join(sys.argv[1:])
        if "--tasks" in given and "--include_path" not in given:
            sys.argv += ["--include_path", str(FOLDER)]
        cli_evaluate()
    except HeadscriptError as error:
        print(f"headscript: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
