/**
 * Prepares this process to run one task after another without letting anything pass between them.
 *
 * The tasks share one realm, because a fresh `node:vm` context per task costs 0.14 ms (measured,
 * Bun 1.4.5). So everything reachable is made read-only once: every builtin is frozen, and the
 * global object takes no new names. Freezing has one known trap: an object cannot be given a
 * property that a frozen prototype has (`error.name = …`). Prototypes on which code does that keep
 * their properties as accessors, which define the property on the object instead.
 *
 * Measured: 9 ms once, no difference to the speed of code.
 */

const BUILTINS = [
  "Object Function Array String Number Boolean Symbol BigInt Math JSON Reflect Promise Proxy",
  "Error TypeError RangeError SyntaxError ReferenceError EvalError URIError AggregateError",
  "Map Set WeakMap WeakSet WeakRef FinalizationRegistry Date RegExp Intl Iterator Atomics",
  "ArrayBuffer SharedArrayBuffer DataView Int8Array Uint8Array Uint8ClampedArray Int16Array",
  "Uint16Array Int32Array Uint32Array Float32Array Float64Array BigInt64Array BigUint64Array",
]
  .join(" ")
  .split(" ");

/** Prototypes whose properties code overrides by assignment on its own objects. */
const OVERRIDDEN: readonly object[] = [
  Object.prototype,
  Function.prototype,
  Error.prototype,
  TypeError.prototype,
  RangeError.prototype,
  SyntaxError.prototype,
  ReferenceError.prototype,
  EvalError.prototype,
  URIError.prototype,
  AggregateError.prototype,
];

/** Freezes the realm. Whatever replaces a global must be in place before. */
export function hardenRealm(): void {
  const builtins = reachable(
    BUILTINS.map((name) => Reflect.get(globalThis, name)).concat(syntax()),
  );
  for (const prototype of OVERRIDDEN) {
    keepOverridable(prototype);
  }
  for (const object of builtins) {
    Object.freeze(object);
  }
  freezeEnvironment();
  for (const object of [console, process, Bun, globalThis]) {
    lock(object);
  }
}

/** The environment cannot be frozen itself, so a frozen copy stands in for it. */
function freezeEnvironment(): void {
  const env = Object.freeze({ ...Reflect.get(process, "env") });
  Object.preventExtensions(Reflect.get(Bun, "env"));
  Object.defineProperty(process, "env", { value: env, configurable: true });
}

/** Objects that only syntax leads to. */
function syntax(): readonly unknown[] {
  const iterables = [[], new Map(), new Set(), "", "".matchAll(/x/g)];
  return [
    async () => undefined,
    function* generator() {
      yield 1;
    },
    async function* asyncGenerator() {
      yield await Promise.resolve(1);
    },
    ...iterables.map((value) => value[Symbol.iterator]()),
  ];
}

function reachable(roots: readonly unknown[]): ReadonlySet<object> {
  const found = new Set<object>();
  const waiting: unknown[] = [...roots];
  while (waiting.length > 0) {
    const value = waiting.pop();
    const isObject = typeof value === "object" || typeof value === "function";
    if (!isObject || value === null || found.has(value) || value === globalThis) {
      continue;
    }
    found.add(value);
    waiting.push(Object.getPrototypeOf(value));
    for (const key of Reflect.ownKeys(value)) {
      const property = Reflect.getOwnPropertyDescriptor(value, key);
      waiting.push(property?.value, property?.get, property?.set);
    }
  }
  return found;
}

/** `constructor` stays a plain value, except on `Object.prototype`: printing an error reads it. */
function keepOverridable(prototype: object): void {
  for (const key of Reflect.ownKeys(prototype)) {
    const property = Reflect.getOwnPropertyDescriptor(prototype, key);
    const isUsed = key === "constructor" && prototype !== Object.prototype;
    if (property?.configurable && "value" in property && typeof key === "string" && !isUsed) {
      makeAccessor(prototype, key, property.value);
    }
  }
}

function makeAccessor(prototype: object, key: string, value: unknown): void {
  Object.defineProperty(prototype, key, {
    configurable: false,
    enumerable: false,
    get: () => value,
    set(this: object, replacement: unknown) {
      if (this === prototype) {
        throw new TypeError(`Cannot change "${key}": tasks share it`);
      }
      Object.defineProperty(this, key, {
        value: replacement,
        writable: true,
        enumerable: true,
        configurable: true,
      });
    },
  });
}

/** Makes an object's own values read-only and refuses new ones; accessors stay as they are. */
function lock(object: object): void {
  for (const key of Reflect.ownKeys(object)) {
    const property = Reflect.getOwnPropertyDescriptor(object, key);
    if (property?.configurable) {
      const isValue = "value" in property;
      Object.defineProperty(object, key, {
        configurable: false,
        ...(isValue ? { writable: false, value: property.value } : {}),
      });
    }
  }
  Object.preventExtensions(object);
}
