// The WebSocket of live detection: frames out, detections back; reconnects when it was lost.

const IN_FLIGHT = 2; // one is worked on while the next is on its way
const BACKOFF = [1, 2, 4, 8, 15]; // seconds before connecting again
const LONGEST_BACKOFF = 30; // … whatever the service says
const POLICY_VIOLATION = 1008; // what is wrong will be wrong again

/**
 * Dispatches `answer` ({ frame, answer }), `problem` ({ problem }), `open`, `reconnecting` ({ seconds,
 * problem }) and `refused` ({ problem }), each in `detail`.
 */
export class LiveSocket extends EventTarget {
  constructor(api) {
    super();
    this.api = api;
    this.pending = new Map(); // by number, oldest first
    this.failures = 0;
    this.pausedUntil = 0;
    this.socket = null;
    this.wanted = false;
  }

  /** Whether a frame may be sent now: what is sent later is newer. */
  get ready() {
    return this.socket?.readyState === WebSocket.OPEN
      && this.pending.size < IN_FLIGHT
      && performance.now() >= this.pausedUntil;
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
    this.reset();
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
    socket.addEventListener('open', () => this.emit('open'));
    socket.addEventListener('message', ({ data }) => {
      if (socket === this.socket) this.onMessage(JSON.parse(data));
    });
    socket.addEventListener('close', ({ code }) => {
      if (socket === this.socket) this.onClose(code);
    });
  }

  onMessage(message) {
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
      this.emit('answer', { frame, answer: message });
    } else {
      this.pausedUntil = performance.now() + 1000 * (message.retry_after ?? 0);
      this.emit('problem', { problem: message });
    }
  }

  onClose(code) {
    const { problem } = this;
    this.reset();
    if (!this.wanted) return;
    if (code === POLICY_VIOLATION && problem?.status !== 408) {
      this.wanted = false;
      this.emit('refused', { problem });
      return;
    }
    const pause = BACKOFF[Math.min(this.failures, BACKOFF.length - 1)];
    const seconds = Math.min(LONGEST_BACKOFF, Math.max(pause, problem?.retry_after ?? 0));
    this.failures += 1;
    this.timer = setTimeout(() => this.connect(), 1000 * seconds);
    this.emit('reconnecting', { seconds, problem });
  }

  reset() {
    this.socket = null;
    this.pending.clear();
  }

  emit(type, detail) {
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
