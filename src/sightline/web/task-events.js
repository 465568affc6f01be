// The events of a task until it ends: server-sent events, else long polling.

import { pause, problemOf } from './retry.js';

const IDLE_TIMEOUT = 40_000; // ms; the service sends something every 15 s
const FIRST_EVENT_TIMEOUT = 8_000; // ms; the first event comes at once, unless somebody between holds it
const ENDED = new Set(['completed', 'error', 'cancelled']);

/** Thrown where a task is not to be had any more; `problem` is the service's. */
export class TaskGone extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/**
 * Tell of a task until it has ended, or `signal` stops it; by polling where no stream comes through.
 *
 * `handlers.task(state)` gets all of it, `handlers.image(result)` one picture that is done,
 * `handlers.progress({status, progress, queue})` the rest. Throws TaskGone.
 */
export async function followTask(service, id, handlers, signal) {
  let streams = true;
  for (let attempt = 0; ; attempt += 1) {
    if (streams) {
      const outcome = await readEvents(service, id, handlers, signal);
      if (outcome === 'end') return;
      streams = outcome === 'again' && attempt < 3;
      if (streams) await pause(1, signal);
    } else if (await poll(service, id, handlers, signal)) {
      return;
    }
  }
}

/** Whether nothing of a task is to come any more. */
function hasEnded({ status }) {
  return ENDED.has(status);
}

/** All of a task now. Throws TaskGone. */
export async function fetchTask(service, id, options) {
  const answer = await service.ask(`/result/${id}`, options);
  if (answer.status === 304) return null;
  if (!answer.ok) throw new TaskGone(await problemOf(answer));
  return answer;
}

const etags = new Map(); // by task: the ETag of what was last seen by polling

async function poll(service, id, handlers, signal) {
  const headers = etags.has(id) ? { 'If-None-Match': etags.get(id) } : {};
  const wait = etags.has(id) ? '?wait=20' : '';
  const answer = await service.ask(`/result/${id}${wait}`, { headers, signal, cache: 'no-store' });
  if (answer.status === 304) return false;
  if (!answer.ok) throw new TaskGone(await problemOf(answer));
  etags.set(id, answer.headers.get('ETag') ?? '');
  const state = await answer.json();
  handlers.task(state);
  return hasEnded(state);
}

/** 'end', or 'again' where a stream broke off, or 'never' where it seems that none comes through. */
async function readEvents(service, id, handlers, signal) {
  const own = new AbortController();
  const stop = () => own.abort();
  signal.addEventListener('abort', stop, { once: true });
  let timer = setTimeout(stop, FIRST_EVENT_TIMEOUT);
  let heard = false;
  try {
    const answer = await service.api.fetch(`/result/${id}/events`, {
      signal: own.signal, headers: { Accept: 'text/event-stream' }, cache: 'no-store',
    });
    if (answer.status !== 200) return 'never'; // polling finds out why
    for await (const event of eventsOf(answer.body)) {
      clearTimeout(timer);
      timer = setTimeout(stop, IDLE_TIMEOUT);
      heard = true;
      if (event.name === 'end') return 'end';
      if (event.name === 'problem') return 'never';
      handlers[event.name]?.(JSON.parse(event.data));
    }
  } catch (error) {
    if (signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
  return heard ? 'again' : 'never';
}

/** What a stream of https://html.spec.whatwg.org/multipage/server-sent-events.html says. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop();
      yield* blocks.map(eventIn);
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have broken off
  }
}

function eventIn(block) {
  const event = { name: '', data: '' };
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) event.name = line.slice(7);
    else if (line.startsWith('data: ')) event.data += line.slice(6);
  }
  return event;
}
