"""Print a Markdown file's ``sh`` and ``python`` blocks as one script, in order; but `make test`."""

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)

for kind, block in BLOCK.findall(Path(sys.argv[1]).read_text()):
    if kind == "python":
        print(f"python - <<'END'\n{block}END")
    else:
        print("\n".join(line for line in block.splitlines() if not line.startswith("make test")))
