# SPDX-License-Identifier: Apache-2.0
"""Log lines as logrus writes them where stderr is no terminal."""
import sys
import time


def quote(text):
    """Go's %q, for what occurs in our messages."""
    for char, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(char, escape)
    return f'"{text}"'


def line(level, message):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(f'time="{stamp}" level={level} msg={quote(message)}\n')
    sys.stderr.flush()


def info(message):
    line("info", message)


def warning(message):
    line("warning", message)


def error(message):
    line("error", message)


def fatal(message):
    line("fatal", message)
    sys.exit(1)
