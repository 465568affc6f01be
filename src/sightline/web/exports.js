// Exports: detections as JSON, CSV and JPEG, and as curl and Python that ask for the same.

import { captionOf, colourOf, inkOn, placeLabels } from './boxes.js';
import { toJpeg } from './jpeg.js';

const TEXT = 13; // CSS pixels, as in boxes.js

/** All pictures that are done with the boxes that are shown, as JSON. */
export function jsonOf(items, filters) {
  const images = items.filter(({ result }) => result).map((item) => ({
    filename: item.name,
    model: item.result.model,
    digest: item.result.digest,
    image: { width: item.width, height: item.height },
    count: filters.of(item).length,
    detections: filters.of(item),
  }));
  const classes = filters.classes.length ? filters.classes : null;
  return JSON.stringify({ confidence: filters.confidence, classes, images }, null, 2);
}

/** The same as CSV, in the columns of `sightline detect --format csv`. */
export function csvOf(items, filters) {
  const rows = [['file', 'label', 'class_id', 'confidence', 'x1', 'y1', 'x2', 'y2']];
  for (const item of items) {
    for (const { label, class_id: id, confidence, bbox } of filters.of(item)) {
      rows.push([item.name, label, id, confidence, bbox.x1, bbox.y1, bbox.x2, bbox.y2]);
    }
  }
  return `${rows.map((row) => row.map(cell).join(',')).join('\n')}\n`;
}

/** A picture with its boxes, in its own size, as a JPEG; null if this browser cannot draw it. */
export async function jpegOf(item, detections) {
  const picture = new Image();
  picture.src = item.url;
  const can = await picture.decode().then(() => true, () => false);
  // How much a browser can draw it does not tell.
  for (let part = 1; can && part > 0.05; part /= 2) {
    const [width, height] = [picture.naturalWidth, picture.naturalHeight]
      .map((size) => Math.max(1, Math.round(size * part)));
    const blob = await toJpeg(picture, width, height, 0.92, (context) => {
      context.scale(width / item.width, height / item.height);
      if (!item.drawn) paint(context, item, detections);
    });
    if (blob) return blob;
  }
  return null;
}

/** What to type to ask the service the same. */
export function curlOf(item, filters, api) {
  const key = api.key ? ` -H ${quoted(`X-API-Key: ${api.key}`)}` : '';
  return `curl${key} -F ${quoted(`file=@${fileInForm(item.name)}`)} ${quoted(api.url(`/detect?${queryOf(filters)}`))}`;
}

/** The same as a Python program. */
export function pythonOf(item, filters, api) {
  const parameters = [`"confidence": ${filters.confidence}`];
  if (filters.classes.length) parameters.push(`"classes": ${JSON.stringify(filters.classes.join(','))}`);
  const key = api.key ? `\n        headers={"X-API-Key": ${JSON.stringify(api.key)}},` : '';
  return `import httpx

with open(${JSON.stringify(item.name)}, "rb") as picture:
    answer = httpx.post(
        ${JSON.stringify(api.url('/detect'))},
        params={${parameters.join(', ')}},
        files={"file": picture},${key}
        timeout=60,
    )
answer.raise_for_status()
for found in answer.json()["detections"]:
    print(found["label"], found["confidence"], found["bbox"])
`;
}

/** Let the browser save `content` as a file. */
export function save(content, name, type) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may be asking where to
}

function queryOf({ confidence, classes }) {
  const query = new URLSearchParams({ confidence });
  if (classes.length) query.set('classes', classes.join(','));
  return query;
}

function paint(context, { width, height }, detections) {
  const mean = (width + height) / 2;
  const unit = Math.min(Math.max(12, mean / 55), 96) / TEXT;
  context.font = `600 ${TEXT * unit}px system-ui, sans-serif`;
  context.lineWidth = Math.max(1, mean / 400);
  const measure = (text) => context.measureText(text).width / unit;
  const places = placeLabels({ width, height }, detections, unit, measure);
  detections.map((found, index) => [found, places[index]]).reverse().forEach(([found, place]) => {
    const { x1, y1, x2, y2 } = found.bbox;
    context.strokeStyle = colourOf(found.class_id);
    context.fillStyle = colourOf(found.class_id);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.fillRect(place.left, place.top, place.wide, place.high);
    context.fillStyle = inkOn(found.class_id);
    context.fillText(captionOf(found), place.left + 4 * unit, place.top + (4 + 0.8 * TEXT) * unit);
  });
}

function cell(value) {
  // A leading sign would be a formula to a spreadsheet; numbers are not text.
  const text = typeof value === 'string' ? value.replace(/^[=+@\t\r-]/, "'$&") : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A name as curl's `-F` reads it. */
function fileInForm(name) {
  return /[\s",;\\]/.test(name) ? `"${name.replace(/["\\]/g, '\\$&')}"` : name;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
