"""What `make run` starts: the server and the feed of smartwatches."""

import re
import signal
import subprocess
import sys
import threading

from .process import ROOT

LINE = re.compile(r"40 watches \| accuracy +([\d.]+)% of (\d+) .* p50 ([\d.]+) ms")


def test_feed_shows_predictions_and_accuracy_and_ends_with_ctrl_c() -> None:
    command = [sys.executable, "-m", "examples.run", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            shown = next(found for line in process.stdout if (found := LINE.search(line)) and int(found[2]) >= 80)
            process.send_signal(signal.SIGINT)
            rest, log = process.communicate()
        finally:
            watchdog.cancel()
            process.kill()
    assert float(shown[1]) >= 97.5
    assert process.returncode == 0, log
    assert rest.endswith("stopped\n")
    assert "Traceback" not in log
    assert "ERROR" not in log
