"""The explorers as a page of their own: `make app`, or python -m dashtheory.explore.app NOTEBOOK [--port PORT].

Starts voila on this machine alone, says where in one line, and ends on Ctrl-C with status 0.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

HOST = "127.0.0.1"
_PATIENCE = 60.0  # seconds until voila must answer


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as asked:
        return asked.connect_ex((HOST, port)) == 0


def command(notebook: Path, port: int) -> list[str]:
    """The command line of voila."""
    return [
        sys.executable,
        "-m",
        "voila",
        str(notebook),
        "--no-browser",
        f"--port={port}",
        f"--Voila.ip={HOST}",
        "--Voila.port_retries=0",
        "--Voila.log_level=WARN",
        "--VoilaConfiguration.theme=light",
        "--VoilaConfiguration.progressive_rendering=True",
    ]


def serve(notebook: Path, port: int) -> int:
    """Run voila until it ends or is interrupted; returns the exit status.

    voila has a session of its own (on Windows a process group), so that Ctrl-C reaches this process alone, which
    then ends it.
    """
    group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows alone
    voila = subprocess.Popen(command(notebook, port), start_new_session=True, creationflags=group)
    try:
        if not _answers(voila, port):
            return _say(f"voila did not start on port {port}; it said why above.", 1)
        sys.stdout.write(f"Open http://localhost:{port}/ in a browser; Ctrl-C ends it.\n")
        sys.stdout.flush()
        return voila.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(voila)


def _answers(voila: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until voila answers, or is known to fail."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and voila.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/voila/static/voila.js", timeout=2):
                return True
        except urllib.error.HTTPError:
            return True  # it answers, if with a refusal
        except OSError:
            time.sleep(0.2)
    return False


def _end(voila: subprocess.Popen[bytes]) -> None:
    """End voila and the kernels that it started (on Windows these end by themselves without it)."""
    if voila.poll() is None:
        voila.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            voila.wait(10)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(voila.pid, signal.SIGKILL)
    voila.wait()


def _say(line: str, status: int) -> int:
    sys.stderr.write(f"dashtheory: {line}\n")
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve; bad input ends in status 2 and one line."""
    parser = argparse.ArgumentParser(
        prog="python -m dashtheory.explore.app", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("notebook", type=Path, help="notebook to show")
    parser.add_argument("--port", type=int, default=0, help="port (default: a free one)")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("voila") is None:
        return _say("the app needs voila: pip install 'dashtheory[notebook]'", 2)
    if not options.notebook.is_file():
        return _say(f"there is no notebook {options.notebook}; run from the root of the repository.", 2)
    if not 0 <= options.port < 65536 or (options.port and is_taken(options.port)):
        return _say(f"port {options.port} is taken or no port; give another one, or none.", 2)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs are started deaf to SIGINT
        signal.signal(number, signal.default_int_handler)
    return serve(options.notebook, options.port or free_port())


if __name__ == "__main__":
    sys.exit(main())
