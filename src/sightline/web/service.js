// The connection to the service: retries, health checks, the banner at the top, the key dialog.

import { Stopped, pause, problemOf, retryDelay, withRetries, withTimeout } from './retry.js';

// Seconds in which there is an answer: long polls take 20, pictures two minutes and their turn
const TIMEOUT = 30;
const PICTURE_TIMEOUT = 180;
const HEALTH_TIMEOUT = 10;

/** Asks the service with retries, and says so in `banner` where that takes a while. */
export class Service extends EventTarget {
  constructor(api, banner, dialog) {
    super();
    this.api = api;
    this.health = null;
    this.firstHealth = new Promise((resolve) => { this.resolveHealth = resolve; });
    this.checking = null;
    this.banner = banner;
    this.dialog = dialog;
    this.handlers = {
      onWait: (trouble) => this.trouble(trouble),
      onAnswer: () => this.recovered(),
      onKeyWanted: () => this.askForKey(),
    };
    banner.querySelector('button').addEventListener('click', () => this.openDialog());
  }

  /** The answer of the service, as soon as it has one that is worth having. */
  ask(path, options = {}) {
    const seconds = options.body ? PICTURE_TIMEOUT : TIMEOUT;
    return withRetries(() => this.fetch(path, options, seconds), this.handlers, options.signal);
  }

  /** Look what serves, as often as it takes. Dispatches `ready`. */
  async start() {
    if (this.api.problem) return this.say('trouble', this.api.problem);
    this.say('checking', 'Asking the service…');
    await this.check();
    this.resolveHealth(this.health);
    return this.dispatchEvent(new Event('ready'));
  }

  /** What serves, once that is known: nothing is sent before. Stopped as soon as `signal` says so. */
  whenKnown(signal) {
    const stopped = new Promise((_, reject) => {
      signal?.addEventListener('abort', () => reject(new Stopped()), { once: true });
    });
    return Promise.race([this.firstHealth, stopped]);
  }

  /** Look what serves now, and say so where nothing does. Dispatches `recovered` after that. */
  check() {
    this.checking ??= this.checkUntilWell().finally(() => { this.checking = null; });
    return this.checking;
  }

  async checkUntilWell() {
    let checks = 0;
    const ask = async () => {
      if (checks) await visible(); // a forgotten page keeps no service awake
      checks += 1;
      return this.fetch('/health', {}, HEALTH_TIMEOUT);
    };
    for (let attempt = 0; ; attempt += 1) {
      const answer = await withRetries(ask, { ...this.handlers, onAnswer() {} });
      const health = await healthIn(answer);
      if (health) {
        this.health = health;
        this.recovered();
        return this.show();
      }
      const seconds = retryDelay(answer, attempt);
      this.trouble({ seconds, text: await this.notSightline(answer) });
      await pause(seconds);
    }
  }

  fetch(path, options, seconds) {
    return withTimeout(seconds, (signal) => this.api.fetch(path, { ...options, signal }), options.signal);
  }

  /** What to say where something answers that is no Sightline, or does not serve. */
  async notSightline(answer) {
    const { type, title, detail } = answer.ok ? {} : await problemOf(answer);
    if (type) return `${title}. ${detail}`;
    const advice = this.api.foreign ? 'Look at the address after ?api='
      : 'Name one in the address of this page: ?api=https://…';
    return `No Sightline service answers at ${this.api.url('/')} (status ${answer.status}). ${advice}`;
  }

  trouble({ seconds, busy, reason, text = this.unavailable(busy) }) {
    clearInterval(this.countdown);
    const end = performance.now() + 1000 * seconds;
    const count = this.banner.querySelector('.countdown');
    const tick = () => {
      const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      count.textContent = left ? ` Trying again in ${left} s.` : ' Trying again…';
    };
    this.say('trouble', text, reason);
    tick();
    this.countdown = setInterval(tick, 500);
  }

  unavailable(busy) {
    if (busy) return 'The service is busy or waking up.';
    if (!this.api.foreign) return 'The service does not answer.';
    return `The service does not answer, or allows no pages of ${location.origin} (SIGHTLINE_CORS_ORIGINS).`;
  }

  recovered() {
    const { state } = this.banner.dataset;
    if (!this.health || (state !== 'trouble' && state !== 'key')) return;
    this.show();
    this.dispatchEvent(new Event('recovered'));
  }

  show() {
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
    const { banner } = this;
    banner.querySelector('.countdown').textContent = '';
    const said = banner.querySelector('.status-text');
    if (said.textContent !== text) said.textContent = text;
    banner.dataset.state = state;
    banner.title = title;
    banner.querySelector('details').hidden = state !== 'demo';
    banner.querySelector('button').hidden = state !== 'key';
  }

  /** Resolves when the person has entered a key. */
  askForKey() {
    this.keyPromise ??= new Promise((resolve) => {
      const wrong = Boolean(this.api.key);
      this.dialog.querySelector('.error').hidden = !wrong;
      this.say('key', wrong ? 'The service does not know this key.' : 'The service wants a key.');
      this.openDialog();
      this.onKeyEntered = resolve;
    });
    return this.keyPromise;
  }

  openDialog() {
    const { dialog, api } = this;
    if (api.foreign) {
      for (const place of dialog.querySelectorAll('.service-name')) place.textContent = api.base;
    }
    const form = dialog.querySelector('form');
    form.onsubmit = () => {
      api.setKey(form.elements.key.value.trim());
      form.reset();
      this.keyPromise = null;
      this.onKeyEntered();
    };
    if (!dialog.open) dialog.showModal();
  }
}

/** What a service says of its health; null if it is none, or has none. */
async function healthIn(answer) {
  const said = answer.ok ? await answer.json().catch(() => null) : null;
  return said?.model ? said : null;
}

/** As soon as the page is looked at. */
async function visible() {
  while (document.hidden) {
    await new Promise((resolve) => {
      document.addEventListener('visibilitychange', resolve, { once: true });
    });
  }
}
