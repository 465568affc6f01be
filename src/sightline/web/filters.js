// Filters of the boxes that are shown: the confidence slider and the chips of classes.

import { colourOf } from './boxes.js';

/** Dispatches `change` when others are to be shown. The service is not asked again for that. */
export class Filters extends EventTarget {
  constructor(slider, chips) {
    super();
    this.slider = slider;
    this.output = slider.parentElement.querySelector('output');
    this.chips = chips;
    this.chosen = new Set(); // labels; none is all
    this.chipByLabel = new Map(); // chips by label: one that is being clicked must stay
    this.touched = false;
    slider.addEventListener('input', () => {
      this.touched = true;
      this.changed();
    });
    chips.addEventListener('click', ({ target }) => this.toggle(target.closest('button')));
  }

  get confidence() {
    return Number(this.slider.value);
  }

  get classes() {
    return [...this.chosen];
  }

  /** Begin where the service would, until the person says otherwise. */
  setDefaultConfidence(confidence) {
    if (this.touched || confidence === undefined) return;
    this.slider.min = Math.min(0.05, confidence);
    this.slider.value = confidence;
    this.changed();
  }

  /** The detections of an item that are shown. */
  of(item) {
    return item.detections.filter((found) => found.confidence >= this.confidence
      && (!this.chosen.size || this.chosen.has(found.label)));
  }

  /** A chip for each class that is in any picture, the most frequent first. */
  show(items) {
    const counts = new Map();
    for (const found of items.flatMap((item) => item.detections)) {
      const count = counts.get(found.label) ?? { id: found.class_id, shown: 0 };
      if (found.confidence >= this.confidence) count.shown += 1;
      counts.set(found.label, count);
    }
    const wanted = [...counts].filter(([label, { shown }]) => shown || this.chosen.has(label));
    wanted.sort(([a, x], [b, y]) => y.shown - x.shown || a.localeCompare(b));
    const chips = wanted.map(([label, { id, shown }]) => this.chip(label, id, shown));
    if (chips.length === this.chips.childElementCount
      && chips.every((chip, index) => chip === this.chips.children[index])) return;
    const focused = document.activeElement;
    this.chips.replaceChildren(...chips);
    if (chips.includes(focused)) focused.focus();
  }

  chip(label, id, shown) {
    if (!this.chipByLabel.has(label)) this.chipByLabel.set(label, chipOf(label, id));
    const chip = this.chipByLabel.get(label);
    chip.setAttribute('aria-pressed', this.chosen.has(label));
    chip.querySelector('b').textContent = shown;
    return chip;
  }

  toggle(chip) {
    if (!chip) return;
    const { label } = chip.dataset;
    if (!this.chosen.delete(label)) this.chosen.add(label);
    this.changed();
  }

  changed() {
    this.output.textContent = this.confidence.toFixed(2);
    this.dispatchEvent(new Event('change'));
  }
}

function chipOf(label, id) {
  const chip = document.createElement('button');
  chip.type = 'button';
  chip.dataset.label = label;
  chip.dataset.class = id;
  const dot = document.createElement('span');
  dot.className = 'swatch';
  dot.style.backgroundColor = colourOf(id);
  chip.append(dot, label, ' ', document.createElement('b'));
  return chip;
}
