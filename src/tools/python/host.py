"""The interpreter that is started once and forks a process per task.

It never runs a task itself, so no state passes from one task to the next, and it stays single
threaded, so forking is safe. Commands come in on stdin, one line each: `fork`, or `import NAME` for
a module of the standard library that tasks have turned out to need. Events go out on stdout:
`ready`, and `exit PID CODE` for each child (negative: the signal that killed it). When stdin ends,
the worker is gone: every child group is killed. When this process dies, the kernel kills its
children.

A child costs what it touches: each page that it writes to, if only to count a reference, is copied
(some 3 microseconds on a virtual machine). So what can be done before the fork is done there, the C
functions of signals are called without their wrappers, and `fork` is called without what `os.fork`
does for other threads, which are not there (130 pages of 330). A child runs a dummy task while it
waits, so that the pages that every task touches are its own by the time of the real one.
"""
import _signal
import ctypes
import gc
import select
import signal
import socket

CONTROL, STDOUT, STDERR = 0, 1, 2
PR_SET_PDEATHSIG = 1
children = set()


def serve(config):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    prefer_as_oom_victim()
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    wake_in, wake_out = os.pipe()
    os.set_blocking(wake_in, False)
    os.set_blocking(wake_out, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()
    emit("ready")
    waiter = select.poll()
    waiter.register(0, select.POLLIN | select.POLLHUP)
    waiter.register(wake_in, select.POLLIN)
    pending = b""
    while True:
        for source, _ in waiter.poll():
            if source == wake_in:
                drain(wake_in)
                reap()
                continue
            data = os.read(0, 65536)
            if not data:
                stop()
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                obey(line.decode(), config, (wake_in, wake_out))


def emit(line):
    os.write(1, (line + "\n").encode())


def drain(wake):
    try:
        os.read(wake, 65536)
    except BlockingIOError:
        pass


def reap():
    """Reports ended children; kills what is left of a child's group before its id is free again."""
    for pid in list(children):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            continue
        kill_group(pid)
        _, status = os.waitpid(pid, 0)
        children.discard(pid)
        emit(f"exit {pid} {os.waitstatus_to_exitcode(status)}")


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def stop():
    for pid in children:
        kill_group(pid)
    os._exit(0)


def obey(line, config, wake):
    command, _, argument = line.partition(" ")
    if command == "fork":
        fork(config, wake)
    elif command == "import":
        try:
            __import__(argument)
        except Exception:  # the task that needs it will say so itself
            pass


def fork(config, wake):
    host = os.getpid()
    pid = FORK()
    if pid < 0:
        raise OSError("fork failed")  # ends this process; the worker starts another
    if pid:
        children.add(pid)
        return
    try:
        become_child(config, wake, host)
    finally:
        os._exit(70)


def become_child(config, wake, host):
    os.setsid()
    die_with_parent(host)
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    for end in wake:
        os.close(end)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    marks = []
    for role in (STDOUT, STDERR):
        stream = connect(config, role)
        os.dup2(stream.fileno(), role)
        marks.append(stream.detach())
    control = connect(config, CONTROL)
    if "random" in sys.modules:
        sys.modules["random"].seed()
    warm_up()
    run_task(control, marks)


def connect(config, role):
    """A socket to the worker; every descriptor but 0, 1 and 2 is closed in grandchildren."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(config["address"])
    connection.sendall(bytes.fromhex(config["token"]) + struct.pack("<IB", os.getpid(), role))
    return connection


def die_with_parent(host):
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, _signal.SIGKILL, 0, 0, 0)
    if os.getppid() != host:
        os._exit(0)


def prefer_as_oom_victim():
    """Children inherit it. Of all victims the largest is taken, which this process is not."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:  # not Linux, or /proc is not writable
        pass


def bind_prctl():
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4
    return prctl


def bind_fork():
    """Keeps the interpreter's lock while it forks, as `os.fork` does."""
    return getattr(ctypes.PyDLL(None), "fork", os.fork)


PRCTL = bind_prctl()
FORK = bind_fork()
