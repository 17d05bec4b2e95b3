#!/usr/bin/env python3
"""claimed.py FOLDER: the persons of the demo in that folder have claimed their accounts, without the way there, which
tests/browser/claim.mjs walks. Only then a program can be allowed anything."""

import pathlib
import sqlite3
import sys

database = sqlite3.connect(pathlib.Path(sys.argv[1]) / "demo.db", timeout=20)
with database:
    changed = database.execute("UPDATE accounts SET state = 'active' WHERE state = 'provisional'").rowcount
if changed == 0:
    sys.exit("no account waits to be claimed")
