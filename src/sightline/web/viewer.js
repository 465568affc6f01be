// The viewer: the chosen picture with its boxes, and the list of its objects.

import { captionOf, colourOf, drawBoxes } from './boxes.js';
import { hasExifOrientation } from './exif.js';
import { previewOf } from './previews.js';
import { stateText } from './progress.js';

/** Shows an item in `stage`, and its objects in `list`; a box and its row are highlighted together. */
export class Viewer {
  /** `changed(item)` is called when a picture can be shown that could not before. */
  constructor(stage, list, count, service, changed) {
    this.figure = stage.querySelector('figure');
    this.picture = this.figure.querySelector('img');
    this.svg = this.figure.querySelector('svg');
    this.caption = this.figure.querySelector('figcaption');
    this.emptyState = stage.querySelector('#empty-state');
    this.notice = stage.querySelector('#notice');
    this.list = list;
    this.count = count;
    this.noObjects = list.parentElement.querySelector('#no-objects');
    this.service = service;
    this.changed = changed;
    this.item = null;
    this.shown = [];
    this.pinned = null;
    this.highlighted = null;
    new ResizeObserver(() => this.draw()).observe(this.figure);
    this.picture.addEventListener('load', () => this.draw());
    this.picture.addEventListener('error', () => this.onUndisplayable(this.item));
    this.listen();
  }

  /** Show `item` with the boxes that `filters` lets through; without one the empty state. */
  show(item, filters) {
    const shown = item ? filters.of(item) : [];
    const same = item === this.item && isSame(shown, this.shown);
    if (item !== this.item) this.pinned = null;
    this.item = item;
    this.shown = shown;
    this.emptyState.hidden = Boolean(item);
    this.figure.hidden = !item;
    this.showNotice();
    if (item) this.showPicture();
    else this.picture.removeAttribute('src');
    this.count.textContent = item?.state === 'done' ? shown.length : '';
    this.noObjects.hidden = shown.length > 0;
    this.noObjects.textContent = item?.state === 'done' ? 'None at this confidence.' : '';
    if (same) return; // what somebody points at, or clicks, stays
    this.highlighted = this.pinned;
    this.draw();
    this.showObjects();
  }

  showPicture() {
    const { item, picture } = this;
    this.checkOrientation(item);
    if ((!item.url || item.undisplayable) && item.state === 'done') this.loadPreview();
    const address = item.undisplayable ? '' : item.url ?? '';
    if (picture.getAttribute('src') !== address) {
      picture.hidden = !address;
      if (address) picture.src = address;
      else picture.removeAttribute('src');
    }
    picture.alt = item.name;
    const size = item.width ? ` · ${item.width} × ${item.height}` : '';
    this.caption.textContent = `${item.name}${size}`;
  }

  /** Whether this browser shows it as the service sees it. */
  async checkOrientation(item) {
    if (item.orientationChecked || !item.blob) return;
    item.orientationChecked = true;
    if ((await hasExifOrientation(item.blob)) && !item.previewRequested) this.onUndisplayable(item);
  }

  onUndisplayable(item) {
    if (!item) return;
    item.undisplayable = true;
    this.changed(item);
  }

  /** This page does not have the picture, or cannot show it: the service can. */
  async loadPreview() {
    const { item } = this;
    if (item.previewRequested) return;
    item.previewRequested = true;
    const { blob, drawn } = await previewOf(item, this.service);
    if (blob) item.showPreview(blob, drawn);
    else item.previewMissing = true;
    this.changed(item);
    if (item === this.item) this.draw();
  }

  draw() {
    const { item } = this;
    if (item && !item.previewRequested && this.isSideways()) {
      item.undisplayable = true;
      this.showPicture();
    }
    const whole = item?.width && !item.drawn;
    if (whole) drawBoxes(this.svg, item, this.shown);
    else this.svg.replaceChildren();
    this.highlight(this.highlighted);
  }

  isSideways() {
    const { item, picture } = this;
    const { naturalWidth: width, naturalHeight: height } = picture; // no width yet: no difference
    return picture.src === item.address && (width - height) * (item.width - item.height) < 0;
  }

  showNotice() {
    const { item, notice } = this;
    const text = item ? stateText(item) : null;
    notice.hidden = !text;
    if (!text) return;
    notice.dataset.state = item.state;
    notice.querySelector('.title').textContent = text.title;
    notice.querySelector('.detail').textContent = text.detail;
  }

  /** The rows of the list, anew. */
  showObjects() {
    const focused = this.list.contains(document.activeElement)
      ? document.activeElement.dataset.index : null;
    this.list.replaceChildren(...this.shown.map(rowOf));
    if (focused !== null) this.list.querySelector(`[data-index="${focused}"]`)?.focus();
    this.highlight(this.pinned);
  }

  /** Highlight a box and its row; null for none. */
  highlight(index) {
    this.highlighted = index;
    this.svg.toggleAttribute('data-highlighted', index !== null);
    for (const one of [...this.svg.children, ...this.list.querySelectorAll('button')]) {
      one.classList.toggle('highlighted', index !== null && Number(one.dataset.index) === index);
    }
    for (const row of this.list.querySelectorAll('button')) {
      row.setAttribute('aria-pressed', Number(row.dataset.index) === this.pinned);
    }
    const row = this.list.querySelector('.highlighted');
    // Only the list scrolls, never the page under the pointer.
    if (row && this.list.scrollHeight > this.list.clientHeight && !this.list.matches(':hover')) {
      this.list.scrollTop = row.offsetTop - this.list.offsetTop - this.list.clientHeight / 2;
    }
  }

  pin(index) {
    this.pinned = index === this.pinned ? null : index;
    this.highlight(this.pinned);
  }

  listen() {
    const { svg, list } = this;
    const rowUnder = (event) => {
      const row = event.target.closest('button');
      return row ? Number(row.dataset.index) : null;
    };
    svg.addEventListener('pointermove', (event) => this.highlight(this.boxUnder(event) ?? this.pinned));
    svg.addEventListener('pointerleave', () => this.highlight(this.pinned));
    svg.addEventListener('click', (event) => this.pin(this.boxUnder(event)));
    list.addEventListener('pointerover', (event) => this.highlight(rowUnder(event) ?? this.pinned));
    list.addEventListener('pointerleave', () => this.highlight(this.pinned));
    list.addEventListener('focusin', (event) => this.highlight(rowUnder(event)));
    list.addEventListener('focusout', () => this.highlight(this.pinned));
    list.addEventListener('click', (event) => {
      if (rowUnder(event) !== null) this.pin(rowUnder(event));
    });
  }

  /** The smallest box under the pointer: one that lies in a larger one can be reached too. */
  boxUnder({ clientX, clientY }) {
    const matrix = this.svg.getScreenCTM();
    if (!matrix) return null;
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(matrix.inverse());
    let found = null;
    this.shown.forEach(({ bbox }, index) => {
      const inside = bbox.x1 <= x && x <= bbox.x2 && bbox.y1 <= y && y <= bbox.y2;
      if (inside && (found === null || area(bbox) < area(this.shown[found].bbox))) found = index;
    });
    return found;
  }
}

function isSame(some, others) {
  return some.length === others.length && some.every((one, index) => one === others[index]);
}

function area({ x1, y1, x2, y2 }) {
  return (x2 - x1) * (y2 - y1);
}

function rowOf(found, index) {
  const place = document.createElement('li');
  const row = document.createElement('button');
  row.type = 'button';
  row.dataset.index = index;
  const swatch = document.createElement('span');
  swatch.className = 'swatch';
  swatch.style.backgroundColor = colourOf(found.class_id);
  const label = document.createElement('span');
  label.className = 'name';
  label.textContent = found.label;
  const confidence = document.createElement('span');
  confidence.className = 'number';
  confidence.textContent = found.confidence.toFixed(2);
  row.append(swatch, label, confidence);
  row.title = captionOf(found);
  place.append(row);
  return place;
}
