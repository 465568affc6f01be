// A task of the service: up to a hundred pictures, uploaded, followed and cancelled together.

import { keyForUpload } from './api.js';
import { deletePictures, storePictures } from './offline-store.js';
import { Stopped, problemOf, withRetries } from './retry.js';
import { shrink } from './shrink.js';
import { TaskGone, fetchTask, followTask } from './task-events.js';
import { isReadable, uniqueKey, upload } from './upload.js';

/** The most pictures that the service takes in a task. */
export const MAX_PICTURES = 100;

const LOWEST_CONFIDENCE = 0.05; // that the service is asked for: the slider does the rest

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
export class Task {
  constructor(service, items, changed) {
    this.service = service;
    this.items = items;
    this.changed = changed;
    this.id = null; // once the service has it
    this.moved = 0n; // a bit for each place in the task whose picture another task has now
    this.controller = new AbortController();
    this.uploaded = false; // all bytes are out, and the answer is not there yet
    this.cancelled = false;
  }

  /** What the page's address has of it: its id, and what has moved; null before the service has it. */
  get fragment() {
    return this.moved ? `${this.id}-${this.moved.toString(16)}` : this.id;
  }

  get ended() {
    return this.items.every((item) => item.ended);
  }

  /** Send it. `shrinkFirst` shrinks large pictures first. */
  async send(shrinkFirst) {
    try {
      if (shrinkFirst) await this.shrink();
      this.throwIfStopped();
      const { confidence = 1 } = await this.service.whenKnown(this.controller.signal);
      const answer = await this.upload({ confidence: Math.min(LOWEST_CONFIDENCE, confidence) });
      if (!answer.ok) return this.fail(await problemOf(answer), answer.status >= 500 || answer.status === 413);
      this.accept(await idIn(answer));
      this.each((item) => item.reset('queued'));
      await storePictures(this.id, this.items.map(recordOf));
      if (this.cancelled) await this.cancelAtService();
    } catch (error) {
      if (!(error instanceof Stopped) && error.name !== 'AbortError') throw error;
      this.each((item) => { item.state = 'cancelled'; });
    }
  }

  /** It is the service's task `id`. */
  accept(id) {
    this.id = id;
    this.items.forEach((item, index) => { item.origin = { taskId: id, index }; });
    this.items = this.items.filter(({ origin }) => !(this.moved & bitOf(origin.index)));
  }

  /** `items` move to another task. */
  moveOut(items) {
    for (const { origin } of items) {
      if (origin && origin.taskId === this.id) this.moved |= bitOf(origin.index);
    }
    this.items = this.items.filter((item) => !items.includes(item));
  }

  /** Until it has ended. */
  async follow() {
    try {
      const handlers = {
        task: (state) => this.update(state),
        image: (entry) => this.updateImage(entry),
        progress: (state) => this.updateProgress(state),
      };
      await followTask(this.service, this.id, handlers, this.controller.signal);
    } catch (error) {
      if (error instanceof TaskGone) this.failUnfinished(error.problem);
      else if (!this.controller.signal.aborted) throw error;
    }
  }

  /** Nothing more of it is begun. */
  async cancel() {
    if (this.ended || this.cancelled) return;
    this.cancelled = true;
    if (this.id) await this.cancelAtService();
    // Once all bytes are out it may have been taken: then its id is waited for, to cancel it there.
    else if (!this.uploaded) this.controller.abort();
  }

  /** Run again what failed; false if the service has forgotten it. */
  async retry() {
    const answer = await this.service.ask(`/result/${this.id}/retry`, { method: 'POST' });
    if (!answer.ok) return false;
    this.cancelled = false;
    const state = await answer.json();
    this.items.forEach((item) => {
      const { status } = state.results[item.origin.index];
      if (status !== 'error' && item.state === 'failed') item.reset('queued');
    });
    this.update(state);
    return true;
  }

  /** It is of no interest any more. */
  discard() {
    this.controller.abort();
    if (this.id) deletePictures(this.id);
  }

  // What `followTask` tells

  update(state) {
    state.results.forEach((entry, index) => this.at(index)?.update(entry));
    this.each((item) => { item.position = positionOf(item, state); });
  }

  updateImage(entry) {
    const item = this.at(entry.index);
    item?.update(entry);
    this.changed(item);
  }

  updateProgress(state) {
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
      this.throwIfStopped();
      item.state = 'shrinking';
      this.changed(item);
      const { blob, width, height } = await shrink(item.blob);
      item.uploadBlob = blob;
      if (blob !== item.blob) Object.assign(item, { width, height });
      item.state = 'waiting';
    }
  }

  upload(query) {
    let body = this.body();
    const url = this.service.api.url(`/predict?${new URLSearchParams(query)}`);
    const handlers = {
      progress: (sent, total) => this.showUpload(sent, total),
      sent: () => { this.uploaded = true; },
    };
    const { signal } = this.controller;
    const ask = async () => {
      this.throwIfStopped();
      this.each((item) => { item.state = 'uploading'; });
      try {
        const headers = { ...body.headers, ...keyForUpload(this.service.api) };
        return await upload(url, body.form, { headers, signal, handlers });
      } catch (error) {
        // A file that cannot be read looks as a service that does not answer.
        if (!(error instanceof TypeError) || !(await this.dropUnreadable())) throw error;
        body = this.body();
        return await ask();
      } finally {
        this.uploaded = false;
      }
    };
    return withRetries(ask, this.service.handlers, signal);
  }

  /** What is sent: with a key of its own, by which the service knows it when it comes again. */
  body() {
    const form = new FormData();
    for (const item of this.items) form.append('files', item.uploadBlob, item.name);
    return { form, headers: { 'Idempotency-Key': uniqueKey() } };
  }

  /** Whether files were gone: they fail, and belong to the task no more. */
  async dropUnreadable() {
    const readable = await Promise.all(this.items.map(({ uploadBlob }) => isReadable(uploadBlob)));
    const lost = this.items.filter((_, index) => !readable[index]);
    this.items = this.items.filter((item) => !lost.includes(item));
    for (const item of lost) {
      item.fail(UNREADABLE, false);
      this.changed(item);
    }
    return lost.length > 0;
  }

  /** Bytes go out in the order of the items. */
  showUpload(sent, total) {
    const sizes = this.items.map((item) => item.uploadBlob.size);
    const whole = sizes.reduce((sum, size) => sum + size, 0) || 1;
    let left = whole * (total ? sent / total : 0);
    this.items.forEach((item, index) => {
      item.progress = sizes[index] ? Math.min(1, Math.max(0, left / sizes[index])) : 1;
      left -= sizes[index];
      this.changed(item);
    });
  }

  async cancelAtService() {
    const answer = await this.service.ask(`/result/${this.id}?forget=false`, { method: 'DELETE' });
    if (answer.status === 200) this.update(await answer.json());
    else this.each((item) => { if (!item.ended) item.state = 'cancelled'; });
  }

  fail(problem, retryable) {
    this.each((item) => item.fail(problem, retryable));
  }

  failUnfinished(problem) {
    const shown = problem.status === 404 || problem.status === 410 ? EXPIRED : problem;
    this.each((item) => { if (!item.ended) item.fail(shown, Boolean(item.blob)); });
  }

  throwIfStopped() {
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
export async function stateOf(service, taskId) {
  try {
    return await (await fetchTask(service, taskId)).json();
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
