"""Print the commands of a Markdown file's ``sh`` blocks, in order; but for ``make test``."""

import re
import sys
from pathlib import Path

blocks = re.findall(r"^```sh\n(.*?)^```", Path(sys.argv[1]).read_text(), re.DOTALL | re.MULTILINE)
lines = [line for block in blocks for line in block.splitlines()]
print("\n".join(line for line in lines if not line.startswith("make test")))
