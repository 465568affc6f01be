// One task of the service: up to a hundred pictures that are sent, followed, cancelled together.

import { keyForUpload } from './api.js';
import { deletePictures, storePictures } from './offline-store.js';
import { Stopped, problemOf, withRetries } from './retry.js';
import { shrink } from './shrink.js';
import { TaskGone, fetchTask, followTask } from './task-events.js';
import { isReadable, uniqueKey, upload } from './upload.js';

/** The most pictures that the service takes in a task. */
export const MOST = 100;

const ASKED = 0.05; // lowest confidence that the service is asked for: the slider does the rest

export const EXPIRED = {
  title: 'The results have expired',
  detail: 'The service keeps them for a while only. Send the picture again.',
};

const UNREADABLE = {
  title: 'The file is gone or has changed',
  detail: 'Choose it again.',
};

/**
 * A task with its items, in their order. `changed(item)` is called whenever one of them has.
 */
export class Job {
  constructor(service, items, changed) {
    this.service = service;
    this.items = items;
    this.changed = changed;
    this.task = null; // its id, once the service has it
    this.left = 0n; // a bit for each place in the task whose picture another task has now
    this.stopping = new AbortController();
    this.out = false; // all bytes are, and the answer is not there yet
    this.cancelled = false;
  }

  /** Its id, and what it has left, for the address of the page; null before the service has it. */
  get name() {
    return this.left ? `${this.task}-${this.left.toString(16)}` : this.task;
  }

  get ended() {
    return this.items.every((item) => item.ended);
  }

  /** Send it. `small` shrinks large pictures first. */
  async send(small) {
    try {
      if (small) await this.shrink();
      this.require();
      const { confidence = 1 } = await this.service.whenKnown(this.stopping.signal);
      const answer = await this.upload({ confidence: Math.min(ASKED, confidence) });
      if (!answer.ok) return this.fail(await problemOf(answer), answer.status >= 500 || answer.status === 413);
      this.begin(await idIn(answer));
      this.each((item) => item.again('queued'));
      await storePictures(this.task, this.items.map(recordOf));
      if (this.cancelled) await this.tellCancelled();
    } catch (error) {
      if (!(error instanceof Stopped) && error.name !== 'AbortError') throw error;
      this.each((item) => { item.state = 'cancelled'; });
    }
  }

  /** It is the service's task `id`. */
  begin(id) {
    this.task = id;
    this.items.forEach((item, index) => { item.origin = { task: id, index }; });
    this.items = this.items.filter(({ origin }) => !(this.left & bitOf(origin.index)));
  }

  /** `items` go to another task. */
  leave(items) {
    for (const { origin } of items) {
      if (origin && origin.task === this.task) this.left |= bitOf(origin.index);
    }
    this.items = this.items.filter((item) => !items.includes(item));
  }

  /** Until it has ended. */
  async follow() {
    try {
      const handlers = {
        task: (state) => this.take(state),
        image: (entry) => this.takeImage(entry),
        progress: (state) => this.takeProgress(state),
      };
      await followTask(this.service, this.task, handlers, this.stopping.signal);
    } catch (error) {
      if (error instanceof TaskGone) this.lose(error.problem);
      else if (!this.stopping.signal.aborted) throw error;
    }
  }

  /** Nothing more of it is begun. */
  async cancel() {
    if (this.ended || this.cancelled) return;
    this.cancelled = true;
    if (this.task) await this.tellCancelled();
    // Once all bytes are out it may have been taken: then its id is waited for, to cancel it there.
    else if (!this.out) this.stopping.abort();
  }

  /** Run again what failed; false if the service has forgotten it. */
  async retry() {
    const answer = await this.service.ask(`/result/${this.task}/retry`, { method: 'POST' });
    if (!answer.ok) return false;
    this.cancelled = false;
    const state = await answer.json();
    this.items.forEach((item) => {
      const { status } = state.results[item.origin.index];
      if (status !== 'error' && item.state === 'failed') item.again('queued');
    });
    this.take(state);
    return true;
  }

  /** It is of no interest any more. */
  drop() {
    this.stopping.abort();
    if (this.task) deletePictures(this.task);
  }

  // What `followTask` tells

  take(state) {
    state.results.forEach((entry, index) => this.at(index)?.take(entry));
    this.each((item) => { item.position = positionOf(item, state); });
  }

  takeImage(entry) {
    const item = this.at(entry.index);
    item?.take(entry);
    this.changed(item);
  }

  takeProgress(state) {
    for (const item of this.items) {
      const position = positionOf(item, state);
      if (position === item.position) continue;
      item.position = position;
      this.changed(item);
    }
  }

  // Inside

  at(index) {
    return this.items.find(({ origin }) => origin.index === index);
  }

  async shrink() {
    for (const item of this.items) {
      this.require();
      item.state = 'shrinking';
      this.changed(item);
      const { blob, width, height } = await shrink(item.blob);
      item.sent = blob;
      if (blob !== item.blob) Object.assign(item, { width, height });
      item.state = 'waiting';
    }
  }

  upload(query) {
    let body = this.body();
    const url = this.service.api.url(`/predict?${new URLSearchParams(query)}`);
    const told = {
      progress: (sent, total) => this.spread(sent, total),
      sent: () => { this.out = true; },
    };
    const { signal } = this.stopping;
    const ask = async () => {
      this.require();
      this.each((item) => { item.state = 'uploading'; });
      try {
        const headers = { ...body.headers, ...keyForUpload(this.service.api) };
        return await upload(url, body.form, { headers, signal, told });
      } catch (error) {
        // A file that cannot be read looks as a service that does not answer.
        if (!(error instanceof TypeError) || !(await this.dropUnreadable())) throw error;
        body = this.body();
        return await ask();
      } finally {
        this.out = false;
      }
    };
    return withRetries(ask, this.service.handlers, signal);
  }

  /** What is sent: with a key of its own, by which the service knows it when it comes again. */
  body() {
    const form = new FormData();
    for (const item of this.items) form.append('files', item.sent, item.name);
    return { form, headers: { 'Idempotency-Key': uniqueKey() } };
  }

  /** Whether files were gone: they fail, and belong to the task no more. */
  async dropUnreadable() {
    const readable = await Promise.all(this.items.map(({ sent }) => isReadable(sent)));
    const lost = this.items.filter((_, index) => !readable[index]);
    this.items = this.items.filter((item) => !lost.includes(item));
    for (const item of lost) {
      item.fail(UNREADABLE, false);
      this.changed(item);
    }
    return lost.length > 0;
  }

  /** Bytes go out in the order of the items. */
  spread(sent, total) {
    const sizes = this.items.map((item) => item.sent.size);
    const whole = sizes.reduce((sum, size) => sum + size, 0) || 1;
    let left = whole * (total ? sent / total : 0);
    this.items.forEach((item, index) => {
      item.progress = sizes[index] ? Math.min(1, Math.max(0, left / sizes[index])) : 1;
      left -= sizes[index];
      this.changed(item);
    });
  }

  async tellCancelled() {
    const answer = await this.service.ask(`/result/${this.task}?forget=false`, { method: 'DELETE' });
    if (answer.status === 200) this.take(await answer.json());
    else this.each((item) => { if (!item.ended) item.state = 'cancelled'; });
  }

  fail(problem, retryable) {
    this.each((item) => item.fail(problem, retryable));
  }

  lose(problem) {
    const told = problem.status === 404 || problem.status === 410 ? EXPIRED : problem;
    this.each((item) => { if (!item.ended) item.fail(told, Boolean(item.blob)); });
  }

  require() {
    if (this.cancelled || !this.items.length) throw new Stopped();
  }

  each(change) {
    for (const item of this.items) {
      change(item);
      this.changed(item);
    }
  }
}

/** What the service has of a task, and its entries; null if it is forgotten. */
export async function stateOf(service, task) {
  try {
    return await (await fetchTask(service, task)).json();
  } catch (error) {
    if (error instanceof TaskGone) return null;
    throw error;
  }
}

/** The id of the task that was begun. Throws where something else than the service answered. */
async function idIn(answer) {
  try {
    const { task_id: id } = await answer.json();
    if (id) return id;
  } catch {
    // a proxy's page
  }
  throw new Error('Something else than the service answered. Check its address, then retry.');
}

function positionOf(item, { queue }) {
  return item.state === 'queued' ? queue?.position ?? null : null;
}

function bitOf(index) {
  return 1n << BigInt(index);
}

function recordOf({ name, blob, width, height }) {
  return { name, blob, width, height };
}
