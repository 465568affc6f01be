// The status bar at the foot of the page: what serves, how much goes through it, how long that takes.

import { withTimeout } from './retry.js';

const LIMIT = 10; // seconds in which there is an answer
const EVERY = 3000; // milliseconds between two looks
const LONGEST = 60_000; // … at a service that does not answer

const FIGURES = [
  ['Model', ({ model }) => model],
  ['Device', ({ device }) => device ?? 'asleep'],
  ['Images/s', ({ current_fps: rate }) => rate.toFixed(rate < 10 ? 1 : 0)],
  ['Waiting', (seen) => String(seen.queue_depth + seen.backlog_images)],
  ['Latency', ({ avg_latency_ms: ms }) => (ms === null ? '–' : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`)],
];

/** Show in `element` how the service is, for as long as the page is looked at. */
export function mountStatusBar(element, service) {
  const values = build(element);
  let timer = 0;
  let pause = EVERY;
  let asking = false;

  async function look() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    try {
      const { seen, wait, status } = await ask(service.api);
      show(element, values, seen);
      pause = seen ? EVERY : Math.max(wait, Math.min(2 * pause, LONGEST));
      if (status >= 500) service.check();
    } catch {
      show(element, values, null);
      pause = Math.min(2 * pause, LONGEST);
      service.check();
    }
    asking = false;
    if (!document.hidden) timer = setTimeout(look, pause);
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    look();
  });
  service.addEventListener('recovered', () => {
    pause = EVERY;
    look();
  });
  look();
}

/** What the service says of itself, or how many milliseconds it wants to be left alone. */
async function ask(api) {
  const headers = { Accept: 'application/json' };
  const answer = await withTimeout(LIMIT, (signal) => api.fetch('/metrics', { headers, signal }));
  const { ok, status } = answer;
  const wait = 1000 * (Number(answer.headers.get('Retry-After')) || 0);
  return { status, wait, seen: ok ? await answer.json() : null };
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

function show(element, values, seen) {
  element.dataset.state = seen ? 'known' : 'unknown';
  FIGURES.forEach(([, read], index) => {
    const text = seen ? read(seen) : '–';
    if (values[index].textContent !== text) values[index].textContent = text;
  });
}
