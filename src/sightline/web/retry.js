// Retries with backoff: for a service that is busy, is being started, or does not answer for a while.

const RETRIED = new Set([408, 429, 502, 503, 504]);
const LONGEST_BACKOFF = 15; // seconds

const TOO_LARGE = {
  title: 'The upload is too large for a proxy before the service',
  detail: 'Send fewer pictures at once, or tick “Shrink large photographs first”. Who runs the proxy can let more through.',
  status: 413,
};

/** Thrown where the person, or the page, wants to wait no longer. */
export class Stopped extends Error {}

/**
 * The answer of `ask()`, a promise of a Response, once it is worth having.
 *
 * Waits as `Retry-After` says, else longer each time. `handlers.onWait({seconds, reason, busy})` is
 * called before each wait, `handlers.onAnswer()` once there is an answer; `handlers.onKeyWanted()`
 * promises a key where one is wanted.
 */
export async function withRetries(ask, handlers, signal) {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await answerOf(ask, signal);
    if (answer?.status === 401) {
      await handlers.onKeyWanted();
    } else if (answer && !RETRIED.has(answer.status)) {
      handlers.onAnswer();
      return answer;
    } else {
      const seconds = retryDelay(answer, attempt);
      handlers.onWait({ seconds, busy: Boolean(answer), reason: await reasonOf(answer) });
      await pause(seconds, signal);
    }
  }
}

/**
 * What `ask(signal)` promises; where that takes more than so many seconds, the TypeError that fetch
 * throws where nobody answers.
 */
export async function withTimeout(seconds, ask, signal) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new TypeError('No answer')), 1000 * seconds);
  try {
    return await ask(AbortSignal.any(signal ? [limit.signal, signal] : [limit.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** So many seconds; Stopped as soon as `signal` says so. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new Stopped());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

/** What the service says of a failure; the problem's members, or what can be said without it. */
export async function problemOf(answer) {
  try {
    const problem = await answer.json();
    if (problem.title) return problem;
  } catch {
    // a proxy's page
  }
  if (answer.status === 413) return TOO_LARGE;
  return {
    title: `The service answered ${answer.status}`,
    detail: answer.statusText || '',
    status: answer.status,
  };
}

/** The answer; null if there is none to be had now. */
async function answerOf(ask, signal) {
  try {
    return await ask();
  } catch (error) {
    if (signal?.aborted || error instanceof Stopped) throw new Stopped();
    if (!(error instanceof TypeError)) throw error; // what fetch throws where nobody answers
    return null;
  }
}

/** Seconds until it is worth asking again. */
export function retryDelay(answer, attempt) {
  const wanted = Number(answer?.headers.get('Retry-After'));
  return wanted > 0 ? wanted : Math.min(LONGEST_BACKOFF, 1.5 ** attempt);
}

async function reasonOf(answer) {
  return answer ? (await problemOf(answer)).detail : '';
}
