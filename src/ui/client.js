/** Calls of the HTTP API, with the token if one is needed, and live streams that resume. */

export async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    await askToken();
    return await call(path, options);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Error(body.error ?? `${path} answered ${response.status}`);
  }
  return response;
}
export const get = async (path, signal) => (await call(path, { signal })).json();

let asking;
function askToken() {
  const dialog = document.getElementById("token");
  asking ??= new Promise((resolve) => {
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

/** Server-sent events by fetch, because EventSource cannot send a token. Resumes until `end`. */
export async function follow(path, signal, onMessage) {
  let lastId = "";
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 8000)) {
    try {
      const response = await call(path, {
        signal,
        headers: lastId ? { "last-event-id": lastId } : {},
      });
      let text = "";
      for await (const chunk of lines(response.body)) {
        if (chunk !== "") {
          text += `${chunk}\n`;
          continue;
        }
        const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(text)?.[1];
        const data = field("data");
        if (field("id")) {
          lastId = field("id");
        }
        if (field("event") === "end") {
          return;
        }
        if (data) {
          onMessage(JSON.parse(data));
        }
        text = "";
        pause = 500;
      }
    } catch (_error) {
      if (signal.aborted) {
        return;
      }
    }
    await wait(pause, signal);
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
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
