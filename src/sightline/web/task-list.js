// All pictures of the page, and the tasks that they are in.

import { Item } from './item.js';
import { deleteExpired, loadPictures } from './offline-store.js';
import { EXPIRED, Job, MOST, stateOf } from './task.js';

const FOLLOWED = 3; // at once: browsers open six connections to a host, and uploads want one

/** Dispatches `change` when items have changed or come, and `tasks` when other tasks run. */
export class Work extends EventTarget {
  constructor(service) {
    super();
    this.service = service;
    this.items = [];
    this.jobs = [];
    this.sending = Promise.resolve(); // one upload at a time: each is as fast as the line
    this.followers = new Set();
    this.retrying = false;
  }

  /** What `restore` takes. */
  get tasks() {
    return this.jobs.map((job) => job.name).filter(Boolean);
  }

  /** Whether there are pictures that are to be sent, and would be lost with this page. */
  get sendable() {
    return this.items.some((item) => !item.ended && !item.origin);
  }

  /** Detect in files. */
  add(files, { small }) {
    const items = files.map((file) => new Item({ name: file.name || 'picture', blob: file }));
    this.items.push(...items);
    this.submit(items, small);
    return items;
  }

  /** Say of something that it cannot be sent, or had. */
  refuse(name, problem) {
    const item = new Item({ name });
    item.fail(problem, false);
    this.items.push(item);
    this.tell('change', item);
  }

  /** Nothing more is sent, and nothing more begun by the service. */
  async cancel() {
    await Promise.all(this.jobs.map((job) => job.cancel()));
  }

  /** Everything once more that failed and may go better now. */
  async retry(small) {
    if (this.retrying) return;
    this.retrying = true;
    try {
      await this.runAgain(small);
    } finally {
      this.retrying = false;
    }
  }

  async runAgain(small) {
    const lost = [];
    for (const job of this.jobs) {
      if (!job.items.some((item) => item.retryable)) continue;
      // The service runs failures again; what it has not is sent again.
      if (!job.items.some((item) => item.unsent) && job.task && (await job.retry())) this.watch(job);
      else lost.push(...this.takeOut(job));
    }
    if (lost.length) this.submit(lost, small);
    this.tell('tasks');
  }

  /** An empty page. */
  async clear() {
    await this.cancel();
    for (const job of this.jobs) job.drop();
    for (const item of this.items) item.release();
    this.items = [];
    this.jobs = [];
    this.tell('tasks');
  }

  /** Find tasks again that an earlier page has begun, and forget pictures of older ones. */
  async restore(names) {
    deleteExpired();
    const jobs = names.map((name) => this.jobOf(name));
    this.jobs.push(...jobs);
    await this.service.whenKnown(); // others know no task, and would have it forgotten
    const looks = jobs.map(({ task }) => Promise.all([stateOf(this.service, task), loadPictures(task)]));
    for (const [index, job] of jobs.entries()) this.resume(job, ...await looks[index]);
    this.tell('tasks');
  }

  jobOf(name) {
    const [task, left = '0'] = name.split('-');
    const job = new Job(this.service, [], (item) => this.tell('change', item));
    job.task = task;
    job.left = BigInt(`0x${left}`);
    return job;
  }

  resume(job, state, pictures) {
    const entries = state?.results ?? pictures;
    if (!entries.length) {
      this.jobs = this.jobs.filter((one) => one !== job);
      return this.refuse('Earlier results', EXPIRED);
    }
    job.items = entries.map((entry, index) => {
      const picture = pictures[index];
      return new Item(picture ?? { name: entry.filename });
    });
    job.begin(job.task);
    this.items.push(...job.items);
    if (!state) return job.lose({ status: 410 });
    job.take(state);
    if (!job.ended) this.watch(job);
    return undefined;
  }

  /** Hand in tasks of items that wait. */
  submit(items, small) {
    for (let start = 0; start < items.length; start += MOST) {
      const job = new Job(this.service, items.slice(start, start + MOST), (item) => this.tell('change', item));
      job.each((item) => item.again('waiting'));
      this.jobs.push(job);
      this.sending = this.sending.then(() => this.send(job, small));
    }
  }

  async send(job, small) {
    try {
      await job.send(small);
    } catch (error) {
      // Those behind it are sent all the same, and what the service has taken is followed.
      if (!job.task) job.fail({ title: 'It could not be sent', detail: error.message }, true);
    }
    this.tell('tasks');
    if (job.task && !job.ended) this.watch(job);
  }

  /** Follow a task as soon as there is a connection to spare. */
  async watch(job) {
    while (this.followers.size >= FOLLOWED) await Promise.race(this.followers);
    const following = job.follow()
      .catch(({ message }) => job.lose({ title: 'The results cannot be read', detail: `Retry. (${message})` }))
      .finally(() => this.followers.delete(following));
    this.followers.add(following);
  }

  /** What of a task has to be sent again: it belongs to none then. */
  takeOut(job) {
    const again = job.items.filter((item) => item.retryable);
    job.stopping.abort();
    job.leave(again);
    if (!job.items.length) {
      job.drop();
      this.jobs = this.jobs.filter((one) => one !== job);
    }
    return again;
  }

  tell(kind, item) {
    this.dispatchEvent(new CustomEvent(kind, { detail: item }));
    if (kind === 'tasks') this.dispatchEvent(new CustomEvent('change'));
  }
}
