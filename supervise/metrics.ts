// supervise/metrics.ts - what Prometheus is told of the services: GET /metrics on supervise.sock.
//
// Owns: names and meaning of the metrics. To add one, add a row to METRICS.
// Source: Prometheus text exposition format 0.0.4. Pure.

import type { ServiceView } from './view.ts';

type Metric = {
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  /** undefined: no sample of this service. */
  readonly value: (view: ServiceView) => number | undefined;
};

const METRICS = {
  rouse_service_up: { type: 'gauge', help: 'Whether its process lives.', value: ({ phase }) => Number(phase === 'up') },
  rouse_service_ready: { type: 'gauge', help: 'Whether it is ready.', value: ({ ready }) => Number(ready) },
  rouse_service_wanted: { type: 'gauge', help: 'Whether it is to run.', value: ({ want }) => Number(want !== 'down') },
  rouse_service_starts_total: { type: 'counter', help: 'Starts since this boot.', value: ({ starts }) => starts },
  rouse_service_changed_seconds: {
    type: 'gauge',
    help: 'Time of its last start or death, Unix seconds.',
    value: ({ changedAtMs }) => changedAtMs / 1000,
  },
  rouse_service_cpu_seconds_total: {
    type: 'counter',
    help: 'CPU time of its processes.',
    value: ({ usage }) => (usage === undefined ? undefined : usage.cpuMs / 1000),
  },
  rouse_service_resident_bytes: {
    type: 'gauge',
    help: 'Resident memory of its processes.',
    value: ({ usage }) => usage?.residentBytes,
  },
} as const satisfies Record<string, Metric>;

/** The page. */
export function renderMetrics(views: readonly ServiceView[]): string {
  return Object.entries(METRICS)
    .map(([name, { type, help, value }]) => {
      const samples = views.flatMap((view) => {
        const number = value(view);
        return number === undefined ? [] : [`${name}{service="${escape(view.name)}"} ${number}\n`];
      });
      return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples.join('')}`;
    })
    .join('');
}

function escape(label: string): string {
  return label.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
