// The status strip: what serves, how much goes through it, how long that takes.

const EVERY = 3000; // milliseconds between two looks
const LONGEST = 60_000; // … at a service that does not answer

const FIGURES = [
  ['Model', ({ model }) => model],
  ['Device', ({ device }) => device ?? 'asleep'],
  ['Images/s', ({ current_fps: rate }) => rate.toFixed(rate < 10 ? 1 : 0)],
  ['Waiting', (seen) => String(seen.queue_depth + seen.backlog_images)],
  ['Latency', ({ avg_latency_ms: ms }) => (ms === null ? '–' : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`)],
];

/**
 * Show in `element` how the service is, for as long as the page is looked at.
 *
 * Returns `{ stop }`.
 */
export function mountStrip(element, api) {
  const values = build(element);
  let timer = 0;
  let pause = EVERY;
  let asking = null;

  async function look() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = new AbortController();
    try {
      const answer = await ask(api, asking.signal);
      show(element, values, answer.seen);
      pause = answer.seen ? EVERY : Math.max(answer.wait, Math.min(2 * pause, LONGEST));
    } catch (error) {
      if (error.name !== 'AbortError') show(element, values, null);
      pause = Math.min(2 * pause, LONGEST);
    }
    asking = null;
    if (!document.hidden) timer = setTimeout(look, pause);
  }

  function onVisibility() {
    clearTimeout(timer);
    if (!document.hidden) look();
  }

  function stop() {
    document.removeEventListener('visibilitychange', onVisibility);
    clearTimeout(timer);
    asking?.abort();
  }

  document.addEventListener('visibilitychange', onVisibility);
  look();
  return { stop };
}

/** What the service says of itself, or how many milliseconds it wants to be left alone. */
async function ask(api, signal) {
  const answer = await api.fetch('/metrics', { headers: { Accept: 'application/json' }, signal });
  if (answer.ok) return { seen: await answer.json(), wait: 0 };
  return { seen: null, wait: 1000 * (Number(answer.headers.get('Retry-After')) || 0) };
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
