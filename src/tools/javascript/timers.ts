/** Timers that end with the task that started them. */

type Handle = ReturnType<typeof setTimeout>;

/** Replaces the global timer functions; the returned function clears what a task left running. */
export function captureTimers(): () => void {
  const live = new Set<Handle>();
  const native = { setTimeout, setInterval, setImmediate, clearTimeout };
  const start =
    (begin: (callback: () => void, ms?: number) => unknown, isOnce: boolean) =>
    (callback: (...values: readonly unknown[]) => void, ...more: readonly unknown[]): Handle => {
      const [ms, ...values] = more;
      const handle = begin(
        () => {
          if (isOnce) {
            live.delete(handle);
          }
          callback(...values);
        },
        Number(ms ?? 0),
      ) as Handle;
      live.add(handle);
      return handle;
    };
  const immediate = start((callback) => native.setImmediate(callback), true);
  Object.assign(globalThis, {
    setTimeout: start(native.setTimeout, true),
    setInterval: start(native.setInterval, false),
    setImmediate: (
      callback: (...values: readonly unknown[]) => void,
      ...values: readonly unknown[]
    ) => immediate(callback, 0, ...values),
  });
  return () => {
    for (const handle of live) {
      native.clearTimeout(handle);
    }
    live.clear();
  };
}
