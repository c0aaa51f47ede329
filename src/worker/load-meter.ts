/** What the worker process itself uses. */

export interface Load {
  readonly rssBytes: number;
  /** Of one core, since the last time this was asked. */
  readonly cpuPercent: number;
}

export function createLoadMeter(): () => Load {
  let usage = process.cpuUsage();
  let timeMs = performance.now();
  return () => {
    const { user, system } = process.cpuUsage(usage);
    const elapsedMs = Math.max(1, performance.now() - timeMs);
    usage = process.cpuUsage();
    timeMs = performance.now();
    const cpuPercent = (user + system) / 1000 / elapsedMs;
    return { rssBytes: process.memoryUsage.rss(), cpuPercent: Math.round(cpuPercent * 1000) / 10 };
  };
}
