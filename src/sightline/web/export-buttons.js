// The export buttons, under "Save or copy".

import { csvOf, curlOf, jpegOf, jsonOf, pythonOf, save } from './exports.js';

const byId = (id) => document.getElementById(id);

/** Wire the buttons; `now()` tells `{items, item, filters, api}` as they are. */
export function wireExports(now) {
  const on = (id, act) => byId(id).addEventListener('click', () => act(now()));
  on('save-json', ({ items, filters }) => save(jsonOf(items, filters), 'detections.json', 'application/json'));
  on('save-csv', ({ items, filters }) => save(csvOf(items, filters), 'detections.csv', 'text/csv'));
  on('save-jpeg', async ({ item, filters }) => {
    const name = `${item.name.replace(/\.[^.]*$/, '')}-boxes.jpg`;
    const blob = await jpegOf(item, filters.of(item));
    if (blob) save(blob, name, 'image/jpeg');
    else say('This browser cannot draw it.');
  });
  on('copy-curl', ({ item, filters, api }) => copy(curlOf(item, filters, api), 'curl command'));
  on('copy-python', ({ item, filters, api }) => copy(pythonOf(item, filters, api), 'program'));
}

/** What can be taken along now. */
export function enableExports(items, item) {
  const any = items.some(({ result }) => result);
  for (const id of ['save-json', 'save-csv']) byId(id).disabled = !any;
  for (const id of ['copy-curl', 'copy-python']) byId(id).disabled = !item?.result;
  byId('save-jpeg').disabled = !item?.result || !item.url || item.undisplayable;
}

let fading = 0;

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    showText(text); // no clipboard without HTTPS, or without permission
  }
}

function say(text) {
  const note = byId('copy-status');
  note.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => { note.textContent = ''; }, 4000);
}

function showText(text) {
  const dialog = byId('copy-dialog');
  const area = dialog.querySelector('textarea');
  area.value = text;
  dialog.showModal();
  area.select();
}
