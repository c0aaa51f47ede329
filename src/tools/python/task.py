"""Runs one Python task inside a freshly forked process.

Source of the process is host.py; both files are sent to the interpreter as one text. The child
owns three sockets: control (task in, result out), stdout and stderr, the last two being its real
file descriptors 1 and 2. After the task it writes the task's marker to both, so that the reader
knows where its output ends without waiting for grandchildren that keep the descriptors open.
"""
import ast
import atexit
import builtins
import inspect
import json
import linecache
import os
import resource
import struct
import sys
import threading
import traceback
import types

HOST_FILE = "noetl-python-host"
STDERR_MAX = 8192
VARIADIC = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
WARM_UP = json.dumps(
    {
        "code": "def main(a, b=1.5):\n    return {'a': a, 'b': [b, f'{a}']}\n",
        "file": "noetl-warm-up.py",
        "libs": {},
        "input": {"a": 1, "b": "text"},
        "context": {},
        "names": {},
        "execution_id": "1",
        "step": "warm_up",
    }
)
# Modules that take long to import and are safe to have in the process that forks. A task that
# imports one says so in its answer, and later processes have it from the start.
PRELOADABLE = frozenset(
    "asyncio concurrent.futures csv dataclasses email hashlib http.client logging pathlib shutil"
    " secrets sqlite3 ssl statistics subprocess tempfile typing urllib.request uuid"
    " xml.etree.ElementTree zipfile zoneinfo".split()
)


class TaskError(Exception):
    """A failure whose kind and code are known, with no traceback worth showing."""

    def __init__(self, kind, code, message):
        super().__init__(message)
        self.kind = kind
        self.code = code


class LoopNames(dict):
    """The `iter` map; calling it is still the builtin that it hides."""

    def __call__(self, *args):
        return builtins.iter(*args)


def receive_exactly(control, size):
    data = bytearray()
    while len(data) < size:
        chunk = control.recv(min(size - len(data), 1 << 20))
        if not chunk:
            os._exit(0)
        data += chunk
    return data


def receive_task(control):
    (size,) = struct.unpack("<I", receive_exactly(control, 4))
    return json.loads(receive_exactly(control, size))


def run_task(control, marks):
    """Never returns."""
    task = receive_task(control)
    had = PRELOADABLE & sys.modules.keys()
    try:
        answer = attempt(task)
        finish_process()
    except BaseException as error:  # the last line of defence: whatever it was goes into the answer
        answer = describe_error(error)
    imported = sorted((PRELOADABLE & sys.modules.keys()) - had)
    if imported:
        answer = '{"imported":' + json.dumps(imported) + "," + answer[1:]
    send_answer(control, marks, task, answer)
    os._exit(0)


def warm_up():
    """Runs a task of no consequence."""
    task = json.loads(bytearray(WARM_UP.encode()))
    argv, main = sys.argv, sys.modules["__main__"]
    encode(evaluate(task))
    sys.argv, sys.modules["__main__"] = argv, main
    del linecache.cache[task["file"]]


def send_answer(control, marks, task, answer):
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the task closed or replaced its stream: nothing is left to flush
            pass
    for mark in marks:
        try:
            os.write(mark, (task["marker"] + "\n").encode())
        except OSError:  # the reader is gone, so the answer will fail as well
            pass
    data = answer.encode("utf-8", "replace")
    control.sendall(struct.pack("<I", len(data)) + data)


def attempt(task):
    limit_memory(task["memory_bytes"])
    os.environ.update(task["env"])
    if task["cwd"] is not None:
        os.chdir(task["cwd"])
    try:
        value = evaluate(task)
    except SystemExit as stop:
        value = value_of_exit(stop)
    text = encode(value)
    if len(text) > task["max_output_bytes"]:
        raise TaskError(
            "limit",
            "RESULT_TOO_LARGE",
            f"the result has {len(text)} bytes of JSON, the limit is {task['max_output_bytes']}",
        )
    return '{"ok":true,"value":' + text + "}"


def limit_memory(size):
    if size is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def value_of_exit(stop):
    if stop.code is None or stop.code == 0:
        return sys.modules["__main__"].__dict__.get("result")
    if isinstance(stop.code, int):
        raise TaskError("exit_code", f"EXIT_{stop.code}", f"the task exited with code {stop.code}")
    raise TaskError("exit_code", "EXIT_1", str(stop.code))


def evaluate(task):
    inputs = task["input"]
    given = {
        "input_data": dict(inputs),
        "args": dict(inputs),
        "context": task["context"],
        "variables": task["context"],
        "execution_id": task["execution_id"],
        "step": task["step"],
    }
    given.update(task["names"])
    if isinstance(given.get("iter"), dict):
        given["iter"] = LoopNames(given["iter"])
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = [task["file"]]
    scope = module.__dict__
    scope.update(given)
    if task["libs"]:
        scope.update(import_libs(task["libs"]))
    scope.update(inputs)
    return result_of(task, scope, given, inputs)


def result_of(task, scope, given, inputs):
    code = task["code"]
    file = task["file"]
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    before = scope.get("result", task)
    program, has_return = compile_program(code, file)
    exec(program, scope)
    if has_return:
        value = scope.pop("<module>")()
        if value is not None:
            return value
    if scope.get("result", task) is not before:
        return scope["result"]
    main = scope.get("main")
    if inspect.isfunction(main):
        return call_main(main, given, inputs)
    return scope.get("result")


def compile_program(code, file):
    """Code of the text, and whether it became the body of a function named `<module>`.

    A top-level `return` is a syntax error in Python, so such a text is compiled as a function whose
    local names are declared global: everything else then means what it means at top level.
    """
    try:
        return compile(code, file, "exec", dont_inherit=True), False
    except SyntaxError as error:
        if "'return' outside function" not in str(error):
            raise
    tree = ast.parse(code, file)
    names = local_names(compile(as_function(tree.body), file, "exec", dont_inherit=True))
    declared = [ast.Global(names=names)] if names else []
    return compile(as_function(declared + tree.body), file, "exec", dont_inherit=True), True


def as_function(body):
    module = ast.parse("def f(): pass")
    module.body[0].name = "<module>"
    module.body[0].body = body
    return ast.fix_missing_locations(module)


def local_names(program):
    function = next(item for item in program.co_consts if isinstance(item, types.CodeType))
    return [*function.co_varnames, *function.co_cellvars]


def call_main(main, given, inputs):
    """Calls `main` with arguments found by name: inputs first, then the task's other names."""
    if is_plain(main):
        names = main.__code__.co_varnames[: main.__code__.co_argcount]
        if all(name in inputs for name in names):
            value = main(*[inputs[name] for name in names])
            return run_awaitable(value) if is_awaitable(value) else value
    parameters = inspect.signature(main).parameters
    positional, named, missing = [], {}, []
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update({key: inputs[key] for key in inputs if key not in parameters})
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            if name in inputs or name in given:
                value = inputs[name] if name in inputs else given[name]
                if parameter.kind is parameter.POSITIONAL_ONLY:
                    positional.append(value)
                else:
                    named[name] = value
            elif parameter.default is parameter.empty:
                missing.append(name)
    if missing:
        raise TaskError("schema", "INPUT_MISSING", missing_message(missing, inputs))
    value = main(*positional, **named)
    return run_awaitable(value) if is_awaitable(value) else value


def is_plain(main):
    """True if all parameters can be given by position; `inspect.signature` is slow."""
    code = main.__code__
    is_simple = code.co_kwonlyargcount == 0 and not code.co_flags & VARIADIC
    return is_simple and not main.__dict__


def missing_message(missing, inputs):
    wanted = ", ".join(f'"{name}"' for name in missing)
    present = ", ".join(f'"{name}"' for name in inputs) or "none"
    return f"main() needs {wanted}, which the task's input does not have (it has: {present})"


def is_awaitable(value):
    return hasattr(type(value), "__await__")


def run_awaitable(value):
    import asyncio

    async def wait():
        return await value

    return asyncio.run(wait())


def import_libs(libs):
    """Names for `libs`: {alias: module}, {alias: {from, import}}, or a list of modules."""
    import importlib

    if isinstance(libs, list):
        libs = {name: name for name in libs}
    names = {}
    for alias, source in libs.items():
        if isinstance(source, dict) and "from" in source:
            module = importlib.import_module(source["from"])
            names[alias] = getattr(module, source.get("import") or alias)
            continue
        name = source.get("import") if isinstance(source, dict) else source
        module = importlib.import_module(name or alias)
        top = alias.split(".")[0]
        names[top] = module if top == alias else sys.modules[top]
    return names


def encode(value):
    """JSON text of anything: what JSON lacks becomes text, lists or null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=plain)
    except (TypeError, ValueError) as error:
        if "Circular" in str(error):
            raise TaskError("schema", "RESULT_CIRCULAR", "the result contains itself") from None
    return json.dumps(plain_deep(value), ensure_ascii=False, allow_nan=False, default=plain)


def plain(value):
    """A JSON value for an object that the encoder does not know."""
    if isinstance(value, (set, frozenset)):
        try:
            return sorted(value)
        except TypeError:
            return sorted(value, key=repr)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return text_of_bytes(bytes(value))
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, types.MappingProxyType) or hasattr(type(value), "keys"):
        return {key: value[key] for key in value.keys()}
    if isinstance(value, (types.GeneratorType, range, map, filter, zip)) or is_view(value):
        return list(value)
    return plain_object(value)


def plain_object(value):
    import enum

    if isinstance(value, enum.Enum):
        return value.value
    if "dataclasses" in sys.modules:
        import dataclasses

        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
    if callable(getattr(value, "tolist", None)):  # numpy scalars and arrays, pandas series
        return value.tolist()
    return str(value)


def is_view(value):
    return isinstance(value, (type({}.keys()), type({}.values()), type({}.items())))


def text_of_bytes(data):
    import base64

    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii")


def plain_deep(value):
    """Like `plain` for the whole value: not-a-number and infinity are null, keys are text."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {key_text(key): plain_deep(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_deep(item) for item in value]
    return plain_deep(plain(value))


def key_text(key):
    if isinstance(key, str):
        return key
    return json.dumps(key) if key is None or isinstance(key, (bool, int, float)) else str(plain(key))


def finish_process():
    """What a normal interpreter does before it ends: waits for threads, runs exit handlers."""
    if len(threading._active) > 1:
        threading._shutdown()
    atexit._run_exitfuncs()


def describe_error(error):
    if isinstance(error, MemoryError):
        resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
    if isinstance(error, TaskError):
        return failure(error.kind, error.code, str(error), None)
    name = type(error).__name__
    if isinstance(error, MemoryError):
        return failure("oom_host", name, "MemoryError: the task reached its memory limit", None)
    trace = format_error(error)
    print(trace, file=sys.stderr, end="")
    summary = "".join(traceback.format_exception_only(type(error), error)).strip()
    message = f"{name}: {error}" if str(error) else summary
    return failure("exit_code", name, message, trace[-STDERR_MAX:])


def format_error(error):
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == HOST_FILE:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def failure(kind, code, message, stderr):
    return json.dumps(
        {"ok": False, "kind": kind, "code": code, "message": message, "stderr": stderr}
    )
