// Frames to the service and answers back, over a WebSocket that comes again when it was lost.

const IN_FLIGHT = 2; // one is worked on while the next is on its way
const PAUSES = [1, 2, 4, 8, 15]; // seconds before connecting again
const LONGEST = 30; // … whatever the service says
const POLICY = 1008; // what is wrong will be wrong again

/**
 * Dispatches `answer` ({ frame, answer }), `problem` ({ problem }), `open`, `away` ({ seconds,
 * problem }) and `refused` ({ problem }), each in `detail`.
 */
export class Frames extends EventTarget {
  constructor(api) {
    super();
    this.api = api;
    this.pending = new Map(); // by number, oldest first
    this.failures = 0;
    this.restUntil = 0;
    this.socket = null;
    this.wanted = false;
  }

  /** Whether a frame may be sent now: what is sent later is newer. */
  get ready() {
    return this.socket?.readyState === WebSocket.OPEN
      && this.pending.size < IN_FLIGHT
      && performance.now() >= this.restUntil;
  }

  start() {
    this.wanted = true;
    this.failures = 0;
    this.connect();
  }

  stop() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.socket?.close(1000);
    this.forget();
  }

  /** Send `blob`; `frame` comes back with the answer to it. */
  send(blob, frame) {
    this.sent += 1; // as the service counts
    this.pending.set(this.sent, frame);
    this.socket.send(blob);
  }

  connect() {
    const { api } = this;
    const socket = new WebSocket(api.socket('/detect/ws'), protocols(api.key));
    this.socket = socket;
    this.sent = 0;
    this.problem = null;
    socket.addEventListener('open', () => this.tell('open'));
    socket.addEventListener('message', ({ data }) => {
      if (socket === this.socket) this.hear(JSON.parse(data));
    });
    socket.addEventListener('close', ({ code }) => {
      if (socket === this.socket) this.lose(code);
    });
  }

  hear(message) {
    if (!message.frame) { // it is about the connection, which ends with it
      this.problem = message;
      return;
    }
    const frame = this.pending.get(message.frame);
    for (const number of [...this.pending.keys()]) {
      if (number <= message.frame) this.pending.delete(number); // the others were dropped
    }
    if (message.detections) {
      this.failures = 0;
      this.tell('answer', { frame, answer: message });
    } else {
      this.restUntil = performance.now() + 1000 * (message.retry_after ?? 0);
      this.tell('problem', { problem: message });
    }
  }

  lose(code) {
    const { problem } = this;
    this.forget();
    if (!this.wanted) return;
    if (code === POLICY && problem?.status !== 408) {
      this.wanted = false;
      this.tell('refused', { problem });
      return;
    }
    const pause = PAUSES[Math.min(this.failures, PAUSES.length - 1)];
    const seconds = Math.min(LONGEST, Math.max(pause, problem?.retry_after ?? 0));
    this.failures += 1;
    this.timer = setTimeout(() => this.connect(), 1000 * seconds);
    this.tell('away', { seconds, problem });
  }

  forget() {
    this.socket = null;
    this.pending.clear();
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A page cannot set headers on a WebSocket: the key goes as the name of a subprotocol. */
function protocols(key) {
  if (!key) return ['sightline'];
  const bytes = String.fromCharCode(...new TextEncoder().encode(key));
  const coded = btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return ['sightline', `sightline.key.${coded}`];
}
