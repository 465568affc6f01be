// The camera view: sends frames of the webcam to the service, shows each with its boxes.

import { colourOf, drawBoxes } from './boxes.js';
import { adviceFor, listCameras, openCamera, whyUnavailable } from './devices.js';
import { LiveSocket } from './live-socket.js';

const LARGEST = 640; // pixels of a frame's longer side
const QUALITY = 0.8; // of JPEG
const WINDOW = 2000; // milliseconds over which frames are counted
const EVERY = 500; // milliseconds between two changes of the figures

/**
 * Put the camera's part of the page into `section`. Returns `{ start, stop }`.
 *
 * What is shown is never the video itself but the very frame that was answered: boxes lie where
 * the objects are, however long the answer took.
 */
export function mountCamera(section, api) {
  const camera = new Camera(build(section), new LiveSocket(api));
  return { start: () => camera.start(), stop: () => camera.stop() };
}

class Camera {
  constructor(parts, socket) {
    Object.assign(this, parts, { socket });
    this.video = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
    this.stream = null;
    this.paused = false; // by a page that nobody looks at
    this.canvasPool = [];
    this.times = []; // of the frames shown lately, in milliseconds
    this.latency = null;
    this.wire();
    const unavailable = whyUnavailable();
    this.button.disabled = Boolean(unavailable);
    this.say(unavailable || 'Frames are sent to the service while the camera runs, and not kept.');
  }

  wire() {
    const { socket } = this;
    this.button.addEventListener('click', () => (this.running ? this.stop() : this.start()));
    this.choice.addEventListener('change', () => this.running && this.restart());
    document.addEventListener('visibilitychange', () => this.onVisibility());
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.running && this.listChoices());
    socket.addEventListener('open', () => this.say('The camera runs.'));
    socket.addEventListener('answer', ({ detail }) => this.show(detail.frame, detail.answer));
    socket.addEventListener('problem', ({ detail }) => this.say(words(detail.problem)));
    socket.addEventListener('refused', ({ detail }) => this.stop(words(detail.problem)));
    socket.addEventListener('reconnecting', ({ detail: { seconds, problem } }) => {
      const why = problem ? words(problem) : 'The service does not answer.';
      this.say(`${why} Connecting again in ${seconds} s.`);
    });
  }

  get running() {
    return this.button.dataset.state === 'running';
  }

  async start() {
    if (this.running || whyUnavailable()) return;
    this.mark(true);
    this.say('Asking for the camera…');
    const session = (this.session = {}); // a later start or stop makes this one void
    try {
      const stream = await openCamera(this.choice.value);
      if (this.session !== session) return release(stream);
      this.stream = stream;
    } catch (error) {
      if (this.session === session) this.stop(adviceFor(error));
      if (error.name === 'OverconstrainedError') await this.listChoices(); // no more the one that is gone
      return;
    }
    for (const track of this.stream.getTracks()) {
      track.addEventListener('ended', () => this.stop('The camera is gone. Connect it, then start again.'));
    }
    this.video.srcObject = this.stream;
    this.video.play().catch(() => {}); // stopped before it began
    this.say('Connecting…');
    this.socket.start();
    this.listChoices();
    this.figures = setInterval(() => this.showFigures(), EVERY);
    this.onVideoFrame(session);
  }

  stop(why = 'The camera is off.') {
    this.session = null;
    this.paused = false;
    release(this.stream);
    this.stream = null;
    this.video.srcObject = null;
    this.socket.stop();
    clearInterval(this.figures);
    this.times = [];
    this.latency = null;
    this.showFigures();
    if (this.running) this.say(why);
    this.mark(false);
  }

  restart() {
    this.stop();
    this.start();
  }

  onVisibility() {
    if (document.hidden && this.running) {
      this.stop('The camera rests while nobody looks.');
      this.paused = true;
    } else if (!document.hidden && this.paused) {
      this.paused = false;
      if (!this.section.hidden) this.start();
    }
  }

  /** At each new frame of the video, for as long as `session` lasts. */
  onVideoFrame(session) {
    if (this.session !== session) return;
    const again = () => this.onVideoFrame(session);
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(again);
    else requestAnimationFrame(again);
    if (this.socket.ready && !this.encoding && this.video.videoWidth) this.send(session);
  }

  send(session) {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, LARGEST / Math.max(videoWidth, videoHeight));
    const canvas = this.canvasPool.pop() ?? document.createElement('canvas');
    canvas.width = Math.round(videoWidth * scale);
    canvas.height = Math.round(videoHeight * scale);
    const at = performance.now();
    canvas.getContext('2d').drawImage(this.video, 0, 0, canvas.width, canvas.height);
    this.encoding = true;
    canvas.toBlob((blob) => {
      this.encoding = false;
      if (blob && this.session === session && this.socket.ready) this.socket.send(blob, { canvas, at });
      else this.canvasPool.push(canvas);
    }, 'image/jpeg', QUALITY);
  }

  show(frame, answer) {
    const { canvas, at } = frame;
    const { width, height } = canvas;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.stage.style.setProperty('--ratio', width / height);
    }
    this.canvas.getContext('2d').drawImage(canvas, 0, 0);
    drawBoxes(this.svg, answer.image, answer.detections);
    this.answer = answer;
    this.canvasPool.push(canvas);
    const now = performance.now();
    this.times.push(now);
    this.latency = this.latency === null ? now - at : 0.8 * this.latency + 0.2 * (now - at);
    if (this.status.textContent !== 'The camera runs.') this.say('The camera runs.');
  }

  showFigures() {
    const now = performance.now();
    this.times = this.times.filter((time) => time > now - WINDOW);
    const [first, last] = [this.times[0], this.times.at(-1)];
    const rate = last > first ? (1000 * (this.times.length - 1)) / (last - first) : 0;
    this.rate.textContent = rate ? rate.toFixed(1) : '–';
    this.delay.textContent = this.latency === null ? '–' : `${Math.round(this.latency)} ms`;
    this.objects.replaceChildren(...counted(this.running ? this.answer?.detections : []));
  }

  /** The cameras there are, to choose from if there are several. */
  async listChoices() {
    const cameras = await listCameras();
    const current = this.stream?.getVideoTracks()[0]?.getSettings().deviceId;
    this.choice.replaceChildren(...cameras.map(({ id, name }) => new Option(name, id, false, id === current)));
    this.choice.parentElement.hidden = cameras.length < 2;
  }

  mark(running) {
    this.button.dataset.state = running ? 'running' : 'off';
    this.button.textContent = running ? 'Stop the camera' : 'Start the camera';
    this.stage.dataset.state = this.button.dataset.state;
    if (!running) {
      this.answer = null;
      this.svg.replaceChildren();
      this.canvas.getContext('2d').clearRect(0, 0, this.canvas.width, this.canvas.height);
    }
  }

  say(text) {
    this.status.textContent = text;
  }
}

function release(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function words(problem) {
  return problem ? `${problem.title}. ${problem.detail}` : 'The service refuses this page.';
}

/** One entry a class: how many there are of it. */
function counted(detections = []) {
  const counts = new Map();
  for (const { class_id: id, label } of detections) {
    counts.set(id, { label, count: (counts.get(id)?.count ?? 0) + 1 });
  }
  return [...counts].sort(([a], [b]) => a - b).map(([id, { label, count }]) => {
    const entry = document.createElement('li');
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = colourOf(id);
    const number = document.createElement('span');
    number.className = 'number';
    number.textContent = count;
    entry.append(swatch, label, number);
    return entry;
  });
}

function build(section) {
  const button = make('button', { type: 'button', className: 'primary', textContent: 'Start the camera' });
  const choice = make('select');
  const chooser = make('label', { className: 'chooser', hidden: true });
  chooser.append('Camera ', choice);
  const status = make('p', { className: 'status-text', role: 'status' });
  const tools = make('div', { className: 'buttons' });
  tools.append(button, chooser, status);
  const canvas = make('canvas', { width: LARGEST, height: 0.75 * LARGEST });
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', 'What the camera sees');
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('aria-hidden', 'true');
  const stage = make('div', { className: 'live' });
  stage.append(canvas, svg);
  const [rate, delay] = [make('dd'), make('dd')];
  const well = make('div', { className: 'well' });
  well.append(stage);
  const figures = make('dl');
  figures.append(make('dt', { textContent: 'Frames/s' }), rate, make('dt', { textContent: 'Latency' }), delay);
  const objects = make('ul', { className: 'in-view' });
  const side = make('div', { className: 'side' });
  side.append(figures, make('h2', { textContent: 'In view' }), objects);
  // With its looks, so that nothing jumps.
  const style = make('link', { rel: 'stylesheet', href: 'camera.css' });
  const put = () => section.replaceChildren(tools, well, side);
  style.addEventListener('load', put);
  style.addEventListener('error', put);
  document.head.append(style);
  return { section, button, choice, status, stage, canvas, svg, rate, delay, objects };
}

function make(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
