"""Write the report of a run, or of several side by side; see ``python -m e2c.report --help``.

python -m e2c.report runs/pendulum
python -m e2c.report runs/a runs/b --out comparison.html
"""

from e2c.commands import report_command

if __name__ == "__main__":
    report_command()
