// The progress bar, its line of text, and its buttons.

const TITLES = {
  waiting: 'Waiting for its turn', shrinking: 'Making it smaller', queued: 'Queued',
  processing: 'Looking', cancelled: 'Cancelled',
};

const NO_PREVIEW = {
  title: 'The picture cannot be shown here', detail: 'Its objects are in the list, and can be saved.',
};

const SAY_EVERY = 10_000; // milliseconds: nobody can listen to every change

/** What there is to say of an item over its picture; null if that speaks for itself. */
export function stateText(item) {
  if (item.state === 'done') return item.previewMissing ? NO_PREVIEW : null;
  if (item.state === 'failed') return item.error;
  if (item.state === 'uploading') {
    return { title: `Uploading ${Math.round(100 * item.progress)} %`, detail: '' };
  }
  const before = item.state === 'queued' && item.position;
  const detail = before ? `${before} ${before === 1 ? 'picture comes' : 'pictures come'} first` : '';
  return { title: TITLES[item.state], detail };
}

/** The bar, the line and the buttons that go with them. */
export class Progress {
  constructor(element) {
    this.bar = element.querySelector('.bar');
    this.line = element.querySelector('p');
    this.spoken = element.querySelector('[role=status]');
    this.saidAt = -SAY_EVERY;
    this.cancel = element.querySelector('#cancel');
    this.retry = element.querySelector('#retry');
    this.clear = element.querySelector('#clear');
  }

  show(items, found) {
    const counts = Object.groupBy(items, (item) => item.state);
    const count = (state) => counts[state]?.length ?? 0;
    const ended = items.filter((item) => item.ended).length;
    const running = items.length - ended;
    const part = items.length ? items.reduce((sum, item) => sum + partOf(item), 0) / items.length : 0;
    this.bar.classList.toggle('running', running > 0);
    this.bar.setAttribute('aria-valuenow', Math.round(100 * part));
    this.bar.firstElementChild.style.inlineSize = `${100 * part}%`;
    const text = items.length ? line(items, count, running, found)
      : 'No pictures yet.';
    if (this.line.textContent !== text) this.line.textContent = text;
    this.say(text, running);
    this.cancel.hidden = !running;
    const again = items.filter((item) => item.retryable).length;
    this.retry.hidden = running > 0 || !again;
    this.retry.textContent = `Retry ${again}`;
    this.clear.hidden = running > 0 || !items.length;
  }

  /** To a screen reader: how it goes now and then, and how it ended. */
  say(text, running) {
    const now = performance.now();
    if (text === this.spoken.textContent || (running && now < this.saidAt + SAY_EVERY)) return;
    this.saidAt = running ? now : -SAY_EVERY;
    this.spoken.textContent = text;
  }
}

/** Uploading is a quarter of the way; 0..1. */
function partOf(item) {
  if (item.ended) return 1;
  return { uploading: 0.25 * item.progress, queued: 0.25, processing: 0.6 }[item.state] ?? 0;
}

function line(items, count, running, found) {
  const parts = [];
  const add = (number, text) => { if (number) parts.push(`${number} ${text}`); };
  if (running) {
    if (count('uploading')) {
      const sent = items.filter((item) => item.state === 'uploading');
      const part = sent.reduce((sum, item) => sum + item.progress, 0) / sent.length;
      parts.push(`Uploading ${Math.round(100 * part)} %`);
    }
    add(count('shrinking') + count('waiting'), 'waiting');
    add(count('queued'), 'queued');
    add(count('processing'), 'processing');
  }
  parts.push(`${count('done')} of ${items.length} done`);
  add(count('failed'), 'failed');
  add(count('cancelled'), 'cancelled');
  if (!running) parts.push(`${found} ${found === 1 ? 'object' : 'objects'}`);
  return parts.join(' · ');
}
