/** Calls of the HTTP API, with the token if one is needed, and live streams that resume. */

/** The API's answer that something cannot be done. */
export class ApiError extends Error {
  constructor(message, { code, status, details } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.details = details;
  }
}

export const token = () => sessionStorage.getItem("token");

export async function call(path, options = {}) {
  const bearer = token();
  const headers = { ...options.headers, ...(bearer && { authorization: `Bearer ${bearer}` }) };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    await askToken();
    return await call(path, options);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const { status } = response;
    throw new ApiError(body.error ?? `${path} answered ${status}`, { ...body, status });
  }
  return response;
}

export const get = async (path, signal) => (await call(path, { signal })).json();

/** The body is JSON text, so that numbers which a person typed keep all their digits; or a value. */
export async function send(method, path, body) {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const headers = text === undefined ? {} : { "content-type": "application/json" };
  const response = await call(path, { method, headers, body: text });
  return await response.json().catch(() => ({}));
}

export const post = (path, body) => send("POST", path, body);

let asking;
function askToken() {
  const dialog = document.getElementById("token");
  asking ??= new Promise((resolve) => {
    dialog.querySelector(".error").hidden = token() === null;
    dialog.querySelector("input").value = "";
    dialog.showModal();
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem("token", dialog.querySelector("input").value);
        asking = undefined;
        resolve();
      },
      { once: true },
    );
  });
  return asking;
}

/**
 * Server-sent events by fetch, because EventSource cannot send a token. Resumes until `end`, which
 * it gives back; gives undefined when `signal` aborts. `onState` hears "live" and "lost".
 */
export async function follow(path, signal, { onMessage, onState = () => undefined }) {
  let lastId = "";
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 8000)) {
    try {
      const headers = lastId ? { "last-event-id": lastId } : {};
      const response = await call(path, { signal, headers });
      onState("live");
      for await (const { id, event, data } of messages(response.body)) {
        lastId = id ?? lastId;
        pause = 500;
        if (event === "end") {
          return JSON.parse(data);
        }
        onMessage(JSON.parse(data));
      }
    } catch (error) {
      if (signal.aborted) {
        return undefined;
      }
      if (error instanceof ApiError && error.status < 500) {
        throw error;
      }
    }
    if (!signal.aborted) {
      onState("lost");
    }
    await wait(pause, signal);
  }
  return undefined;
}

/** Blocks of a stream that have data; one cut short by the end of the connection is dropped. */
async function* messages(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const message = readBlock(block);
      if (message.data !== undefined) {
        yield message;
      }
    }
  }
}

/** `{id, event, data}` of one block; absent fields are undefined. */
export function readBlock(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^(id|event|data): ?(.*)$/.exec(line) ?? [];
    if (name !== undefined) {
      fields[name] = value;
    }
  }
  return fields;
}

function wait(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

/** Repeats while the view is there and the tab is seen. */
export async function repeat(signal, { ms, update, onError }) {
  while (!signal.aborted) {
    if (!document.hidden) {
      await update().catch((error) => signal.aborted || onError(error));
    }
    await wait(ms, signal);
  }
}
