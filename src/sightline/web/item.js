// A picture in the task list: its file, its state, its detections.

const STATES = {
  queued: 'queued', processing: 'processing', completed: 'done', error: 'failed',
  cancelled: 'cancelled',
};
const TOO_LARGE = /:(upload|image)-too-large$/; // its bytes, or its pixels
let count = 0;

/**
 * `state` is one of waiting, shrinking, uploading, queued, processing, done, failed, cancelled.
 */
export class Item {
  constructor({ name, blob = null, width = null, height = null }) {
    count += 1;
    this.id = count;
    this.name = name;
    this.blob = blob; // the picture as it was given; null if this page does not have it
    this.uploadBlob = blob; // what goes to the service: the same, or a smaller one
    this.width = width; // of the upright picture; null until that is known
    this.height = height;
    this.origin = null; // its task and place in it, once the service has it
    this.undisplayable = false; // this browser cannot show `url`, or not as the service sees it
    this.orientationChecked = false;
    this.drawn = false; // boxes are in it already
    this.progress = 0; // of the upload, 0..1
    this.reset('waiting');
  }

  get ended() {
    return ['done', 'failed', 'cancelled'].includes(this.state);
  }

  /** Whether it may go better another time. */
  get retryable() {
    if (this.state === 'cancelled') return Boolean(this.blob);
    return this.state === 'failed' && this.error.retryable;
  }

  /** Whether it has to be sent again for that: the service does not have it. */
  get needsUpload() {
    return this.retryable && (this.state === 'cancelled' || TOO_LARGE.test(this.error.type));
  }

  /** An address of the picture for `<img>`; null if this page does not have it. */
  get url() {
    if (!this.address && this.blob) this.address = URL.createObjectURL(this.blob);
    return this.address ?? null;
  }

  /** Show this preview from now on; `drawn` tells whether boxes are in it. */
  showPreview(preview, drawn) {
    this.release();
    this.address = URL.createObjectURL(preview);
    this.undisplayable = false;
    this.drawn = drawn;
  }

  /** Back to `state`, without what came of it before. */
  reset(state) {
    this.state = state;
    this.error = null;
    this.result = null;
    this.detections = [];
    this.position = null;
    this.previewRequested = false; // from the service, which has one that can be shown
    this.previewMissing = false; // it had none
  }

  /** It failed here, not at the service; `retryable` tells whether it may go better later. */
  fail(problem, retryable) {
    this.state = 'failed';
    this.error = { ...problem, retryable };
  }

  /** Its entry in a task's results. */
  update(entry) {
    if (this.state === 'done' && entry.status === 'completed') return;
    this.state = STATES[entry.status] ?? 'queued';
    if (entry.error) this.setError(entry.error);
    if (entry.detections) this.setDetections(entry);
  }

  setError(error) {
    const shrinks = TOO_LARGE.test(error.type) && Boolean(this.blob);
    const detail = shrinks ? `Tick “Shrink large photographs first”, then Retry. (${error.detail})` : error.detail;
    this.fail({ ...error, detail }, shrinks || isPassing(error));
  }

  setDetections(entry) {
    const { width, height } = entry.image;
    this.width ??= width;
    this.height ??= height;
    this.result = entry;
    // A smaller picture may have been sent: its boxes are told in pixels of the given one.
    const x = this.width / width;
    const y = this.height / height;
    this.detections = x === 1 && y === 1 ? entry.detections : entry.detections.map((found) => ({
      ...found, bbox: scaled(found.bbox, x, y),
    }));
  }

  /** Give back what the browser holds for it. */
  release() {
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = null;
  }
}

function scaled(box, x, y) {
  const round = (value) => Math.round(100 * value) / 100;
  return {
    x1: round(box.x1 * x), y1: round(box.y1 * y), x2: round(box.x2 * x), y2: round(box.y2 * y),
  };
}

function isPassing({ status, type = '' }) {
  return status >= 500 || status === 408 || status === 429 || type.endsWith(':url-failed');
}
