// The status bar at the foot of the page: what serves, how much goes through it, how long that takes.

import { withTimeout } from './retry.js';

const TIMEOUT = 10; // seconds in which there is an answer
const INTERVAL = 3000; // milliseconds between two requests
const LONGEST_INTERVAL = 60_000; // … at a service that does not answer

const FIGURES = [
  ['Model', ({ model }) => model],
  ['Device', ({ device }) => device ?? 'asleep'],
  ['Images/s', ({ current_fps: rate }) => rate.toFixed(rate < 10 ? 1 : 0)],
  ['Waiting', (metrics) => String(metrics.queue_depth + metrics.backlog_images)],
  ['Latency', ({ avg_latency_ms: ms }) => (ms === null ? '–' : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`)],
];

/** Show in `element` how the service is, for as long as the page is looked at. */
export function mountStatusBar(element, service) {
  const values = build(element);
  let timer = 0;
  let pause = INTERVAL;
  let asking = false;

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    try {
      const { metrics, wait, status } = await ask(service.api);
      show(element, values, metrics);
      pause = metrics ? INTERVAL : Math.max(wait, Math.min(2 * pause, LONGEST_INTERVAL));
      if (status >= 500) service.check();
    } catch {
      show(element, values, null);
      pause = Math.min(2 * pause, LONGEST_INTERVAL);
      service.check();
    }
    asking = false;
    if (!document.hidden) timer = setTimeout(refresh, pause);
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    refresh();
  });
  service.addEventListener('recovered', () => {
    pause = INTERVAL;
    refresh();
  });
  refresh();
}

/** What the service says of itself, or how many milliseconds it wants to be left alone. */
async function ask(api) {
  const headers = { Accept: 'application/json' };
  const answer = await withTimeout(TIMEOUT, (signal) => api.fetch('/metrics', { headers, signal }));
  const { ok, status } = answer;
  const wait = 1000 * (Number(answer.headers.get('Retry-After')) || 0);
  return { status, wait, metrics: ok ? await answer.json() : null };
}

function build(element) {
  const list = document.createElement('dl');
  const values = FIGURES.map(([name]) => {
    const pair = document.createElement('div');
    const term = document.createElement('dt');
    const value = document.createElement('dd');
    term.textContent = name;
    value.textContent = '–';
    pair.append(term, value);
    list.append(pair);
    return value;
  });
  element.replaceChildren(list);
  return values;
}

function show(element, values, metrics) {
  element.dataset.state = metrics ? 'known' : 'unknown';
  FIGURES.forEach(([, read], index) => {
    const text = metrics ? read(metrics) : '–';
    if (values[index].textContent !== text) values[index].textContent = text;
  });
}
