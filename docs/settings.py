"""``make docs``: writes the table of settings in operations.md anew, from the code."""

from pathlib import Path

from agent import glossary

PAGE = Path(__file__).parent / "operations.md"
BEGIN, END = "<!-- settings: written by `make docs` -->\n", "<!-- end of settings -->\n"

head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
PAGE.write_text(head + BEGIN + glossary.markdown() + END + rest.partition(END)[2], encoding="utf-8")
