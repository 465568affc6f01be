// How the service is: the line at the top of the page, and the key where one is wanted.

import { patiently } from './patience.js';

/** Asks the service with patience, and says so in `line` where that takes a while. */
export class Service extends EventTarget {
  constructor(api, line, dialog) {
    super();
    this.api = api;
    this.health = null;
    this.line = line;
    this.dialog = dialog;
    this.told = {
      wait: (trouble) => this.trouble(trouble),
      well: () => this.recovered(),
      key: () => this.key(),
    };
    line.querySelector('button').addEventListener('click', () => this.openDialog());
  }

  /** The answer of the service, as soon as it has one that is worth having. */
  ask(path, options = {}) {
    return patiently(() => this.api.fetch(path, options), this.told, options.signal);
  }

  /** Look what serves, as often as it takes. Dispatches `ready`. */
  async start() {
    this.say('checking', 'Asking the service…');
    const answer = await this.ask('/health');
    this.health = answer.ok ? await answer.json() : null;
    this.show();
    if (this.health) this.dispatchEvent(new Event('ready'));
  }

  trouble({ seconds, busy, reason }) {
    clearInterval(this.countdown);
    const text = busy ? 'The service is busy or waking up.' : 'The service does not answer.';
    const end = performance.now() + 1000 * seconds;
    const count = this.line.querySelector('.countdown');
    const tick = () => {
      const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      count.textContent = left ? ` Trying again in ${left} s.` : ' Trying again…';
    };
    this.say('trouble', text, reason);
    tick();
    this.countdown = setInterval(tick, 500);
  }

  recovered() {
    if (this.line.dataset.state !== 'trouble' && this.line.dataset.state !== 'key') return;
    this.show();
    if (!this.health) return;
    this.dispatchEvent(new Event('recovered'));
  }

  show() {
    if (!this.health) return this.say('checking', 'The service answers.');
    const { model, classes, engine, device, notice } = this.health;
    if (!notice) {
      const what = classes ? `knows ${classes} kinds of objects` : 'is ready';
      return this.say('ready', `${model} ${what}.`, `${engine} on ${device}`);
    }
    const [headline] = notice.split('\n');
    const toys = /\(([^)]+)\)/.exec(headline)?.[1];
    return this.say('demo', toys ? `Demo model: knows only ${toys}.` : headline, notice);
  }

  say(state, text, title = '') {
    clearInterval(this.countdown);
    const { line } = this;
    line.querySelector('.countdown').textContent = '';
    const said = line.querySelector('.said');
    if (said.textContent !== text) said.textContent = text;
    line.dataset.state = state;
    line.title = title;
    line.querySelector('details').hidden = state !== 'demo';
    line.querySelector('button').hidden = state !== 'key';
  }

  /** Resolves when the person has entered a key. */
  key() {
    this.wanted ??= new Promise((resolve) => {
      const wrong = Boolean(this.api.key);
      this.dialog.querySelector('.wrong').hidden = !wrong;
      this.say('key', wrong ? 'The service does not know this key.' : 'The service wants a key.');
      this.openDialog();
      this.entered = resolve;
    });
    return this.wanted;
  }

  openDialog() {
    const { dialog, api } = this;
    if (api.foreign) {
      for (const place of dialog.querySelectorAll('.whose')) place.textContent = api.base;
    }
    const form = dialog.querySelector('form');
    form.onsubmit = () => {
      api.setKey(form.elements.key.value.trim());
      form.reset();
      this.wanted = null;
      this.entered();
    };
    if (!dialog.open) dialog.showModal();
  }
}
