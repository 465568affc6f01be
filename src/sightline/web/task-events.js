// A task until its end: server-sent events, and long polls where those do not come through.

import { pause, problemOf } from './retry.js';

const SILENCE = 40_000; // ms; the service sends something every 15 s
const FIRST_WORD = 8_000; // ms; the first event comes at once, unless somebody between holds it
const ENDED = new Set(['completed', 'error', 'cancelled']);

/** Thrown where a task is not to be had any more; `problem` is the service's. */
export class Gone extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/**
 * Tell of a task until it has ended, or `signal` stops it.
 *
 * `told.task(state)` gets all of it, `told.image(result)` one picture that is done,
 * `told.progress({status, progress, queue})` the rest. Throws Gone.
 */
export async function follow(service, id, told, signal) {
  let streams = true;
  for (let attempt = 0; ; attempt += 1) {
    if (streams) {
      const outcome = await readEvents(service, id, told, signal);
      if (outcome === 'end') return;
      streams = outcome === 'again' && attempt < 3;
      if (streams) await pause(1, signal);
    } else if (await poll(service, id, told, signal)) {
      return;
    }
  }
}

/** Whether nothing of a task is to come any more. */
function hasEnded({ status }) {
  return ENDED.has(status);
}

/** All of a task now. Throws Gone. */
export async function look(service, id, options) {
  const answer = await service.ask(`/result/${id}`, options);
  if (answer.status === 304) return null;
  if (!answer.ok) throw new Gone(await problemOf(answer));
  return answer;
}

const known = new Map(); // by task: the ETag of what was last seen by polling

async function poll(service, id, told, signal) {
  const headers = known.has(id) ? { 'If-None-Match': known.get(id) } : {};
  const wait = known.has(id) ? '?wait=20' : '';
  const answer = await service.ask(`/result/${id}${wait}`, { headers, signal, cache: 'no-store' });
  if (answer.status === 304) return false;
  if (!answer.ok) throw new Gone(await problemOf(answer));
  known.set(id, answer.headers.get('ETag') ?? '');
  const state = await answer.json();
  told.task(state);
  return hasEnded(state);
}

/** 'end', or 'again' where a stream broke off, or 'never' where it seems that none comes through. */
async function readEvents(service, id, told, signal) {
  const own = new AbortController();
  const stop = () => own.abort();
  signal.addEventListener('abort', stop, { once: true });
  let timer = setTimeout(stop, FIRST_WORD);
  let heard = false;
  try {
    const answer = await service.api.fetch(`/result/${id}/events`, {
      signal: own.signal, headers: { Accept: 'text/event-stream' }, cache: 'no-store',
    });
    if (answer.status !== 200) return 'never'; // polling finds out why
    for await (const event of eventsOf(answer.body)) {
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE);
      heard = true;
      if (event.name === 'end') return 'end';
      if (event.name === 'problem') return 'never';
      told[event.name]?.(JSON.parse(event.data));
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
