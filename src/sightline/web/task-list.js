// The task list: all pictures of the page, and the tasks that they are in.

import { Item } from './item.js';
import { deleteExpired, loadPictures } from './offline-store.js';
import { EXPIRED, MAX_PICTURES, Task, stateOf } from './task.js';

const FOLLOWED = 3; // at once: browsers open six connections to a host, and uploads want one

/** Dispatches `change` when items have changed or come, and `tasks` when other tasks run. */
export class TaskList extends EventTarget {
  constructor(service) {
    super();
    this.service = service;
    this.items = [];
    this.tasks = [];
    this.sending = Promise.resolve(); // one upload at a time: each is as fast as the line
    this.followers = new Set();
    this.retrying = false;
  }

  /** What `restore` takes: the tasks, as the page's address has them. */
  get fragments() {
    return this.tasks.map((task) => task.fragment).filter(Boolean);
  }

  /** Whether there are pictures that are to be sent, and would be lost with this page. */
  get hasUnsent() {
    return this.items.some((item) => !item.ended && !item.origin);
  }

  /** Detect in files. */
  add(files, { shrinkFirst }) {
    const items = files.map((file) => new Item({ name: file.name || 'picture', blob: file }));
    this.items.push(...items);
    this.submit(items, shrinkFirst);
    return items;
  }

  /** Say of something that it cannot be sent, or had. */
  refuse(name, problem) {
    const item = new Item({ name });
    item.fail(problem, false);
    this.items.push(item);
    this.emit('change', item);
  }

  /** Nothing more is sent, and nothing more begun by the service. */
  async cancel() {
    await Promise.all(this.tasks.map((task) => task.cancel()));
  }

  /** Everything once more that failed and may go better now. */
  async retry(shrinkFirst) {
    if (this.retrying) return;
    this.retrying = true;
    try {
      await this.runAgain(shrinkFirst);
    } finally {
      this.retrying = false;
    }
  }

  async runAgain(shrinkFirst) {
    const lost = [];
    for (const task of this.tasks) {
      if (!task.items.some((item) => item.retryable)) continue;
      // The service runs failures again; what it has not is sent again.
      if (!task.items.some((item) => item.needsUpload) && task.id && (await task.retry())) this.watch(task);
      else lost.push(...this.takeOut(task));
    }
    if (lost.length) this.submit(lost, shrinkFirst);
    this.emit('tasks');
  }

  /** An empty page. */
  async clear() {
    await this.cancel();
    for (const task of this.tasks) task.discard();
    for (const item of this.items) item.release();
    this.items = [];
    this.tasks = [];
    this.emit('tasks');
  }

  /** Find tasks again that an earlier page has begun, and forget pictures of older ones. */
  async restore(fragments) {
    deleteExpired();
    const tasks = fragments.map((fragment) => this.taskOf(fragment));
    this.tasks.push(...tasks);
    await this.service.whenKnown(); // others know no task, and would have it forgotten
    const states = tasks.map(({ id }) => Promise.all([stateOf(this.service, id), loadPictures(id)]));
    for (const [index, task] of tasks.entries()) this.resume(task, ...await states[index]);
    this.emit('tasks');
  }

  taskOf(fragment) {
    const [id, moved = '0'] = fragment.split('-');
    const task = new Task(this.service, [], (item) => this.emit('change', item));
    task.id = id;
    task.moved = BigInt(`0x${moved}`);
    return task;
  }

  resume(task, state, pictures) {
    const entries = state?.results ?? pictures;
    if (!entries.length) {
      this.tasks = this.tasks.filter((one) => one !== task);
      return this.refuse('Earlier results', EXPIRED);
    }
    task.items = entries.map((entry, index) => {
      const picture = pictures[index];
      return new Item(picture ?? { name: entry.filename });
    });
    task.accept(task.id);
    this.items.push(...task.items);
    if (!state) return task.failUnfinished({ status: 410 });
    task.update(state);
    if (!task.ended) this.watch(task);
    return undefined;
  }

  /** Hand in tasks of items that wait. */
  submit(items, shrinkFirst) {
    for (let start = 0; start < items.length; start += MAX_PICTURES) {
      const some = items.slice(start, start + MAX_PICTURES);
      const task = new Task(this.service, some, (item) => this.emit('change', item));
      task.each((item) => item.reset('waiting'));
      this.tasks.push(task);
      this.sending = this.sending.then(() => this.send(task, shrinkFirst));
    }
  }

  async send(task, shrinkFirst) {
    try {
      await task.send(shrinkFirst);
    } catch (error) {
      // Those behind it are sent all the same, and what the service has taken is followed.
      if (!task.id) task.fail({ title: 'It could not be sent', detail: error.message }, true);
    }
    this.emit('tasks');
    if (task.id && !task.ended) this.watch(task);
  }

  /** Follow a task as soon as there is a connection to spare. */
  async watch(task) {
    while (this.followers.size >= FOLLOWED) await Promise.race(this.followers);
    const following = task.follow()
      .catch(({ message }) => task.failUnfinished({ title: 'The results cannot be read', detail: `Retry. (${message})` }))
      .finally(() => this.followers.delete(following));
    this.followers.add(following);
  }

  /** What of a task has to be sent again: it belongs to none then. */
  takeOut(task) {
    const again = task.items.filter((item) => item.retryable);
    task.controller.abort();
    task.moveOut(again);
    if (!task.items.length) {
      task.discard();
      this.tasks = this.tasks.filter((one) => one !== task);
    }
    return again;
  }

  emit(kind, item) {
    this.dispatchEvent(new CustomEvent(kind, { detail: item }));
    if (kind === 'tasks') this.dispatchEvent(new CustomEvent('change'));
  }
}
