"""How the program starts: in other processes, quickly, and how it ends when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retain.cli import train as train_command
from retain.cli.main import main
from tiny_runs import FLAGS, SIZE

PROGRAM = [sys.executable, "-m", "retain"]
PATIENCE = 300  # seconds that a process may take on a busy machine


def test_help_is_there_at_once_and_without_torch() -> None:
    with subprocess.Popen([*PROGRAM, "--help"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read().startswith("usage: retain COMMAND")
        # The processor's time and not the clock's: others may be using the machine.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert used.ru_utime + used.ru_stime < 1.0
    code = (
        "import sys; from retain.cli.main import main; status = main(['--help']); "
        "assert not {'torch', 'numpy', 'gymnasium', 'minari'} & set(sys.modules); sys.exit(status)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=PATIENCE)


def test_an_unknown_command_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [*PROGRAM, "trian"], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert done.stderr == "retain: unknown command 'trian'; did you mean train?\n"
    assert done.stdout == ""


def test_a_note_is_a_line_of_its_own_and_other_warnings_say_where(tmp_path: Path) -> None:
    plugin = tmp_path / "noting.py"
    plugin.write_text(
        "import warnings\nfrom retain.core.errors import note\n"
        "note('so it is')\nnote('so it is')\nwarnings.warn('beware')\n"
    )
    done = subprocess.run(
        [*PROGRAM, "--plugin", str(plugin), "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    first, second, *_ = done.stderr.splitlines()
    assert first == "retain: so it is"
    assert second == f"{plugin}:5: UserWarning: beware"


def test_modules_of_the_current_folder_are_found(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "retain"  # as pip makes it
    program.parent.mkdir()
    program.write_text("import sys\nfrom retain.cli.main import main\nsys.exit(main())\n")
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('mine/Pole-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    (here / "json.py").write_text("raise ImportError('the wrong json')\n")
    for words in (["info", "mine:mine/Pole-v0"], ["--plugin", "mine", "info", "mine/Pole-v0"]):
        done = subprocess.run(
            [sys.executable, str(program), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            cwd=here,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "environment mine/Pole-v0" in done.stdout or "mine:mine/Pole-v0" in done.stdout


def test_a_reader_that_goes_away() -> None:
    done = subprocess.run(
        f"{' '.join(PROGRAM)} info tmaze/rate | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("tmaze/rate: RATE")


def test_interrupt_gives_130_and_the_way_on(tmp_path: Path) -> None:
    command = ["train", "tmaze/rate", *SIZE, *FLAGS, "--runs", str(tmp_path), "--name", "long"]
    endless = [
        "--train.updates=1000000",
        "--train.checkpoint-every=5",
        "--train.evaluate-every=None",
        "--train.log-every=1",
    ]
    # A shell's background has the signal ignored, and what it starts inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*PROGRAM, *command, *endless], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    signal.signal(signal.SIGINT, before)
    try:
        for _ in range(PATIENCE * 10):
            assert process.poll() is None
            if (tmp_path / "long" / "checkpoints" / "last").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert error == (
        "stopping as soon as it can be saved; Ctrl-C again stops at once\n"
        f"retain: interrupted; go on by `retain resume {tmp_path / 'long'}`\n"
    )
    assert (tmp_path / "long" / "checkpoints" / "last" / "model.safetensors").exists()


def test_interrupt_in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "run", interrupt)
    for plugin in ([], ["--plugin", "json"], ["--plugin=json"]):
        assert main([*plugin, "train", "tmaze/rate"]) == 130
        assert "retain resume FOLDER" in capsys.readouterr().err


def test_a_broken_pipe_in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(train_command, "run", broken)
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert main(["train", "tmaze/rate"]) == 0
        os.write(file.fileno(), b"goes nowhere")
    assert (tmp_path / "out").read_text() == ""


def in_bash(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", command.replace("retain", " ".join(PROGRAM), 1)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**os.environ, **variables},
    )


def test_output_that_cannot_be_written() -> None:
    done = in_bash("retain list recipes | head -1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, "")
    if Path("/dev/full").exists():
        done = in_bash("retain list recipes > /dev/full")
        assert (done.returncode, done.stderr) == (2, "retain: No space left on device\n")


def test_a_terminal_that_lacks_signs(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"recipe": "r\\u00e4te", "seed": 0}')
    done = in_bash(f"retain list runs --runs '{tmp_path}'", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "r?te seed 0" in done.stdout


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "there is too little memory; ask for less at once (MemoryError)"),
        (RuntimeError("CUDA out of memory. Tried\nmore"), "at once (CUDA out of memory. Tried)"),
        (PermissionError(13, "Permission denied", "/root/x"), "Permission denied: /root/x"),
    ],
)
def test_what_the_machine_refuses(
    error: Exception,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(train_command, "run", fail)
    assert main(["train", "tmaze/rate"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert line in told


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a slip of ours")

    monkeypatch.setattr(train_command, "run", fail)
    with pytest.raises(RuntimeError, match="a slip of ours"):
        main(["train", "tmaze/rate"])
