// Bounding boxes and their labels as SVG, over a picture or a video.

const SVG = 'http://www.w3.org/2000/svg';
const FONT = 'system-ui, sans-serif';
const TEXT = 13; // CSS pixels, whatever the picture's size
const PAD = 4;
const GOLDEN_RATIO = 0.618033988749895;
const TONES = [[0.85, 0.95], [0.6, 1], [0.95, 0.7]]; // saturation, value

const ruler = document.createElement('canvas').getContext('2d');
ruler.font = `600 ${TEXT}px ${FONT}`;

/**
 * Put a `<g class="box" data-index data-class>` into `svg` for each detection, the most confident
 * on top. `data-index` is its place in `detections`.
 *
 * The svg lies over a picture of `width` × `height` pixels as `object-fit: contain` shows it, at any
 * size: lines and labels keep theirs. Draw again when that size changes.
 */
export function drawBoxes(svg, { width, height }, detections) {
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const shown = svg.getBoundingClientRect();
  const unit = Math.max(width / shown.width, height / shown.height); // picture pixels a CSS pixel
  if (!Number.isFinite(unit)) return; // it is not shown
  const places = placeLabels({ width, height }, detections, unit);
  const groups = detections.map((found, index) => boxOf(found, index, places[index], unit));
  svg.replaceChildren(...groups.reverse());
}

/** The colour of a class: the same as in the service's annotated pictures. */
export function colourOf(classId) {
  const [red, green, blue] = rgbOf(classId);
  return `rgb(${red}, ${green}, ${blue})`;
}

/** What is readable on `colourOf(classId)`. */
export function inkOn(classId) {
  const [red, green, blue] = rgbOf(classId);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? '#000' : '#fff'; // ITU-R BT.601
}

/** What is written at a box. */
export function captionOf(found) {
  return `${found.label} ${found.confidence.toFixed(2)}`;
}

/**
 * A place for each label: above its box, inside its top or bottom, or below, wherever it hides
 * the fewest others; the most confident chooses first.
 */
export function placeLabels({ width, height }, detections, unit, measure = widthOf) {
  const high = (TEXT + 2 * PAD) * unit;
  const taken = [];
  for (const found of detections) {
    const { x1, y1, y2 } = found.bbox;
    const wide = Math.min((measure(captionOf(found)) + 2 * PAD) * unit, width);
    const left = Math.max(0, Math.min(x1, width - wide));
    const places = [y1 - high, y1, y2 - high, y2].map((top) => ({
      left, top: Math.max(0, Math.min(top, height - high)), wide, high,
    }));
    const hidden = places.map((place) => taken.reduce((sum, one) => sum + shared(place, one), 0));
    taken.push(places[hidden.indexOf(Math.min(...hidden))]);
  }
  return taken;
}

function widthOf(text) {
  return ruler.measureText(text).width;
}

function shared(a, b) {
  const wide = Math.min(a.left + a.wide, b.left + b.wide) - Math.max(a.left, b.left);
  const high = Math.min(a.top + a.high, b.top + b.high) - Math.max(a.top, b.top);
  return Math.max(0, wide) * Math.max(0, high);
}

function boxOf(found, index, place, unit) {
  const { x1, y1, x2, y2 } = found.bbox;
  const colour = colourOf(found.class_id);
  const group = make('g', { class: 'box', 'data-index': index, 'data-class': found.class_id });
  const label = make('g', { class: 'label' });
  const text = make('text', {
    x: place.left + PAD * unit, y: place.top + (PAD + 0.8 * TEXT) * unit,
    'font-family': FONT, 'font-size': TEXT * unit, 'font-weight': 600, fill: inkOn(found.class_id),
  });
  text.textContent = captionOf(found);
  label.append(
    make('rect', {
      x: place.left, y: place.top, width: place.wide, height: place.high,
      rx: 2 * unit, fill: colour,
    }),
    text,
  );
  group.append(
    make('rect', {
      class: 'frame', x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1),
      fill: 'transparent', stroke: colour, 'stroke-width': 2, 'vector-effect': 'non-scaling-stroke',
    }),
    label,
  );
  return group;
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function rgbOf(classId) {
  const hue = (0.08 + classId * GOLDEN_RATIO) % 1;
  const [saturation, value] = TONES[classId % TONES.length];
  return [5, 3, 1].map((n) => {
    const k = (n + hue * 6) % 6;
    return Math.round(255 * value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  });
}
