#!/usr/bin/env python3
"""Holds `deny.toml`'s licences, bans and sources against what Cargo.lock brings in.

A small part of cargo-deny, which CI does not build (it takes longer than the rest of the run). It does not know the
advisory database. It looks at what `cargo metadata` resolves for the targets of `deny.toml`, optional crates that are
switched off included, so it is a little stricter than cargo-deny.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def resolved(target):
    """The packages of one target by id, and who depends on each directly."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=600).stdout)
    by_id = {package["id"]: package for package in metadata["packages"]}
    nodes = metadata["resolve"]["nodes"]
    parents = {node["id"]: set() for node in nodes}
    for node in nodes:
        for dependency in node["deps"]:
            parents[dependency["pkg"]].add(by_id[node["id"]]["name"])
    return {id: by_id[id] for id in parents}, parents


def licence_holds(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences. `/` is an old way to write OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        holds = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            holds = both() or holds
        return holds

    def both():
        holds = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            holds = one() and holds
        return holds

    def one():
        token = tokens.pop(0)
        if token == "(":
            holds = either()
            if tokens.pop(0) != ")":
                raise ValueError(expression)
            return holds
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in allowed

    holds = either()
    if tokens:
        raise ValueError(expression)
    return holds


def number(version):
    """A version as comparable numbers. A pre-release counts as older than its release."""
    core, _, pre = version.split("+")[0].partition("-")
    parts = [int(part) for part in core.split(".")]
    return parts + [0] * (3 - len(parts)) + [0 if pre else 1]


def version_matches(version, requirement):
    """Requirements as `deny.toml` writes them: `<1.2.3`, `>=1, <1.4`."""
    compare = {"<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
               ">=": lambda a, b: a >= b, "=": lambda a, b: a == b}
    for part in requirement.split(","):
        match = re.fullmatch(r"\s*(<=|>=|<|>|=)\s*(\d[^\s]*)\s*", part)
        if not match:
            raise ValueError(f"`{requirement}`: write <, <=, >, >= or = and a version")
        if not compare[match[1]](number(version), number(match[2])):
            return False
    return True


def complaints(packages, parents, rules):
    allowed = set(rules["licenses"]["allow"])
    exceptions = {one["crate"]: set(one["allow"]) for one in rules["licenses"].get("exceptions", [])}
    for id, package in packages.items():
        name, version, licence, source = (package[key] for key in ("name", "version", "license", "source"))
        shown = f"{name} {version}"
        if not licence:
            yield f"{shown} names no licence"
        elif not licence_holds(licence, allowed | exceptions.get(name, set())):
            yield f"{shown} is under `{licence}`, which is not allowed"
        if source is not None and not source.startswith("registry+"):
            yield f"{shown} comes from {source}"
        for ban in rules["bans"]["deny"]:
            crate, _, requirement = ban["crate"].partition(":")
            if crate != name or (requirement and not version_matches(version, requirement)):
                continue
            strangers = parents[id] - set(ban["wrappers"]) if "wrappers" in ban else {"anybody"}
            if strangers:
                yield f"{shown} is banned for {', '.join(sorted(strangers))}: {ban['reason']}"


def check_itself():
    """The reading of expressions and versions, before anything rests on it."""
    ours = {"MIT", "Apache-2.0", "ISC"}
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "ISC AND (Apache-2.0 OR GPL-2.0)", "X WITH Y OR MIT"]:
        assert licence_holds(good, ours), good
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND X", "Apache-2.0 WITH Y", "AGPL-3.0/GPL-3.0"]:
        assert not licence_holds(bad, ours), bad
    assert version_matches("2.3.9", "<2.3.10") and not version_matches("2.3.10", "<2.3.10")
    assert version_matches("0.4.16-rc.1", "<0.4.16") and version_matches("1.3.0+x", ">=1, <1.4")
    made_up = {"a": {"name": "bad", "version": "1.0.0", "license": "GPL-3.0", "source": "git+x"},
               "b": {"name": "good", "version": "1.0.0", "license": "MIT", "source": None}}
    rules = {"licenses": {"allow": ["MIT"]},
             "bans": {"deny": [{"crate": "bad:<2", "reason": "old"}, {"crate": "good", "wrappers": ["me"], "reason": "x"}]}}
    found = list(complaints(made_up, {"a": {"me"}, "b": {"me"}}, rules))
    assert len(found) == 3, found
    assert len(list(complaints(made_up, {"a": {"me"}, "b": {"me", "you"}}, rules))) == 4


def main():
    check_itself()
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    found, seen = set(), set()
    for target in rules["graph"]["targets"]:
        packages, parents = resolved(target)
        seen |= set(packages)
        found |= set(complaints(packages, parents, rules))
    for complaint in sorted(found):
        print(complaint)
    print(f"{len(seen)} crates looked at, {len(found)} complaints")
    sys.exit(1 if found else 0)


main()
