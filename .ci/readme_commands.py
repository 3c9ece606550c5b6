"""Print the ``sh`` and ``python`` blocks of Markdown files as one script; but `make test`.

The script prints a line before each block: the page, and the line on which the block begins.
"""

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)

for page in sys.argv[1:]:
    text = Path(page).read_text("utf-8")
    for found in BLOCK.finditer(text):
        kind, block = found.groups()
        print(f"echo '=== {page}, line {text.count(chr(10), 0, found.start()) + 1}'")
        if kind == "python":
            print(f".venv/bin/python - <<'END'\n{block}END")
        else:
            print(
                "\n".join(line for line in block.splitlines() if not line.startswith("make test"))
            )
