"""Print the ``sh`` and ``python`` blocks of Markdown files as one script; but `make test`."""

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)

for page in sys.argv[1:]:
    print(f"echo '=== {page}'")
    for kind, block in BLOCK.findall(Path(page).read_text("utf-8")):
        if kind == "python":
            print(f".venv/bin/python - <<'END'\n{block}END")
        else:
            print(
                "\n".join(line for line in block.splitlines() if not line.startswith("make test"))
            )
