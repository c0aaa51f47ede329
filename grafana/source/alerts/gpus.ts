/** Alerts of GPUs: broken, hot, dirty, and leases that nobody uses. */
import type { Alert } from "./alert.ts";
import { growing, steady } from "./alert.ts";

const GPU = 'gpu="GPU-0a1b",index="0",name="NVIDIA H100",instance="a"';
const BY = "gpu, index, name, instance";
const state = (name: string) => `noetl_gpu_state{${GPU},state="${name}"}`;
const xid = (kind: string) =>
  `noetl_gpu_xid_errors_total{gpu="GPU-0a1b",class="${kind}",instance="a"}`;

const healthAlerts: readonly Alert[] = [
  {
    name: "GpuXid",
    component: "gpus",
    severity: "critical",
    expr: 'sum by (gpu, class, instance) (increase(noetl_gpu_xid_errors_total{class!~"application|notice"}[10m]))',
    above: 0,
    minutes: 0,
    summary: "The driver reports {value} errors (XID, {class}) of GPU {gpu} on {instance}",
    description:
      "Of memory, link or firmware, or the GPU is lost: it is out of service until it is reset or the machine restarted.",
    dashboard: "noetl-gpus",
    proof: {
      fires: { [xid("memory")]: growing(1) },
      silent: { [xid("memory")]: steady(2), [xid("application")]: growing(1) },
    },
  },
  {
    name: "GpuOutOfService",
    component: "gpus",
    severity: "warning",
    expr: `max by (${BY}) (noetl_gpu_state{state="out_of_service"})`,
    above: 0,
    minutes: 5,
    summary: "GPU {index} ({name}) on {instance} is out of service",
    description: "`noetl gpu get {gpu}` says why. It gets no tasks until it is well again.",
    dashboard: "noetl-gpus",
    proof: {
      fires: { [state("out_of_service")]: steady(1) },
      silent: { [state("out_of_service")]: steady(0), [state("ready")]: steady(1) },
    },
  },
  {
    name: "GpuHot",
    component: "gpus",
    severity: "warning",
    expr: `max by (${BY}) (noetl_gpu_temperature_celsius)`,
    above: 85,
    minutes: 5,
    summary: "GPU {index} ({name}) on {instance} is at {value} °C",
    description: "It slows down before it breaks. Look at the cooling, and at its power limit.",
    dashboard: "noetl-gpus",
    proof: {
      fires: { [`noetl_gpu_temperature_celsius{${GPU}}`]: steady(91) },
      silent: { [`noetl_gpu_temperature_celsius{${GPU}}`]: steady(82) },
    },
  },
  {
    name: "GpuEccErrors",
    component: "gpus",
    severity: "warning",
    expr: `max by (${BY}) (delta(noetl_gpu_ecc_errors[1h]))`,
    above: 0,
    minutes: 0,
    summary:
      "GPU {index} ({name}) on {instance} had {value} uncorrected memory errors within an hour",
    description:
      "What ran on it may have computed nonsense or failed. More of them: have it replaced.",
    dashboard: "noetl-gpus",
    proof: {
      fires: { [`noetl_gpu_ecc_errors{${GPU}}`]: "0+0x90 2+0x150" },
      silent: { [`noetl_gpu_ecc_errors{${GPU}}`]: steady(2) },
    },
  },
  {
    name: "GpuUnclean",
    component: "gpus",
    severity: "warning",
    expr: `max by (${BY}) (noetl_gpu_state{state="unclean"})`,
    above: 0,
    minutes: 15,
    summary:
      "GPU {index} ({name}) on {instance} is not clean: something that no task owns computes on it",
    description: "It gets no tasks meanwhile. `nvidia-smi` on that machine shows the process.",
    dashboard: "noetl-gpus",
    proof: {
      fires: { [state("unclean")]: steady(1) },
      silent: { [state("unclean")]: "0+0x90 1+0x10 0+0x140" },
    },
  },
  {
    name: "GpuReadingsFailing",
    component: "gpus",
    severity: "warning",
    expr: `
      sum by (instance) (rate(noetl_gpu_readings_total{outcome!="ok"}[5m]))
      / sum by (instance) (rate(noetl_gpu_readings_total[5m]))`,
    above: 0.5,
    minutes: 5,
    summary: "nvidia-smi fails or hangs on {instance}",
    description:
      "Nothing new is known of its GPUs, and they get no tasks. Usually the driver is stuck.",
    dashboard: "noetl-gpus",
    proof: {
      fires: {
        'noetl_gpu_readings_total{instance="a",outcome="ok"}': steady(9),
        'noetl_gpu_readings_total{instance="a",outcome="hung"}': growing(1),
      },
      silent: {
        'noetl_gpu_readings_total{instance="a",outcome="ok"}': growing(9),
        'noetl_gpu_readings_total{instance="a",outcome="hung"}': growing(1),
      },
    },
  },
];

const leases = 'noetl_pool_gpu_leases{pool="gpu-01"}';
const running = 'noetl_queue_depth{pool="gpu-01",status="running"}';
const ready = 'noetl_pool_gpus{pool="gpu-01",state="ready"}';
const waiters = 'noetl_pool_gpu_waiters{pool="gpu-01"}';

const leaseAlerts: readonly Alert[] = [
  {
    name: "GpuLeaseLeak",
    component: "gpus",
    severity: "critical",
    expr: `
      max by (pool) (noetl_pool_gpu_leases)
      unless on (pool) max by (pool) (noetl_queue_depth{status="running"}) > 0`,
    above: 0,
    minutes: 10,
    summary: "{value} GPUs of pool {pool} are held though none of its commands runs",
    description: "They are kept from tasks. `noetl gpu list` says which command holds them.",
    dashboard: "noetl-gpus",
    proof: {
      fires: { [leases]: steady(2), [running]: steady(0) },
      silent: { [leases]: steady(2), [running]: steady(1) },
    },
  },
  {
    name: "GpuHeldIdle",
    component: "gpus",
    severity: "warning",
    expr: `
      max by (${BY}) (avg_over_time(noetl_gpu_utilization_ratio[10m]))
      and on (gpu, instance) min by (gpu, instance) (min_over_time(noetl_gpu_leases[10m])) > 0`,
    below: 0.01,
    minutes: 25,
    summary: "GPU {index} ({name}) on {instance} has been held for half an hour and not used",
    description: "A task waits for something else or hangs. `noetl gpu get {gpu}` says which.",
    dashboard: "noetl-gpus",
    proof: {
      fires: {
        [`noetl_gpu_utilization_ratio{${GPU}}`]: steady(0),
        [`noetl_gpu_leases{${GPU}}`]: steady(1),
      },
      silent: {
        [`noetl_gpu_utilization_ratio{${GPU}}`]: steady(0),
        [`noetl_gpu_leases{${GPU}}`]: "1+0x30 0 1+0x30 0 1+0x30 0 1+0x140",
      },
    },
  },
  {
    name: "GpusFreeWhileWaitedFor",
    component: "gpus",
    severity: "warning",
    expr: `
      max by (pool) (noetl_pool_gpu_waiters)
      and on (pool) max by (pool) (noetl_pool_gpus{state="ready"}) > max by (pool) (noetl_pool_gpu_leases)`,
    above: 0,
    minutes: 15,
    summary: "{value} commands of pool {pool} wait for GPUs though it has free ones",
    description:
      "They ask for more at once, or for another type, than is free. `noetl gpu list` says what each waits on.",
    dashboard: "noetl-gpus",
    proof: {
      fires: { [waiters]: steady(2), [ready]: steady(4), [leases]: steady(2) },
      silent: { [waiters]: steady(2), [ready]: steady(4), [leases]: steady(4) },
    },
  },
];

export const GPU_ALERTS: readonly Alert[] = [...healthAlerts, ...leaseAlerts];
