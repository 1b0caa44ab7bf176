#!/usr/bin/env python3
"""Measures other libraries as bench/readers measures the local parser.

    python3 peers.py FOLDER [ROUNDS]

Needs those libraries that are to be measured: pip install kreuzberg xberg
Prints milliseconds of CPU a file, by extension.
"""
import asyncio
import os
import resource
import sys


def used():
    s = 0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        u = resource.getrusage(who)
        s += u.ru_utime + u.ru_stime
    return s


def readers():
    try:
        import kreuzberg

        yield "kreuzberg", kreuzberg.extract_file_sync
    except ImportError:
        print("kreuzberg: not installed", file=sys.stderr)
    try:
        import xberg

        loop = asyncio.new_event_loop()
        yield "xberg", lambda f: loop.run_until_complete(xberg.extract(xberg.ExtractInput(uri=f)))
    except ImportError:
        print("xberg: not installed", file=sys.stderr)


def main():
    folder, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    kinds = {}
    for f in sorted(os.listdir(folder)):
        kinds.setdefault(os.path.splitext(f)[1].lower(), []).append(os.path.join(folder, f))
    for name, read in readers():
        for ext, files in sorted(kinds.items()):
            failed = 0

            def run(n):
                nonlocal failed
                before = used()
                for _ in range(n):
                    for f in files:
                        try:
                            read(f)
                        except Exception:  # a refusal is measured, too
                            failed += 1
                return used() - before

            run(1)  # what is loaded with the first file
            ms = run(rounds) * 1000 / rounds / len(files)
            print(f"{name:9} {ext:6} {len(files):3} files {ms:8.2f} ms a file" + (f", {failed // (rounds + 1)} refused" if failed else ""))


if __name__ == "__main__":
    main()
