// The ways to add pictures: file inputs, drag and drop, paste.

import { filesOfDrop, picturesOf } from './files.js';

const byId = (id) => document.getElementById(id);

/**
 * Call `add(files)` for what is picked, photographed, dropped or pasted, and `refuse(name, problem)`
 * for what of it is no picture, or cannot be read.
 */
export function wireFileInputs(add, refuse) {
  openBy('pick', 'files', (files) => add([...files]));
  openBy('photograph', 'photograph-file', (files) => add([...files]));
  openBy('folder', 'folder-files', (files) => add(picturesOf(files, refuse)));
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) event.preventDefault();
    add(files);
  });
  wireDrops(add, refuse);
}

function openBy(button, input, take) {
  byId(button).addEventListener('click', () => byId(input).click());
  byId(input).addEventListener('change', ({ target }) => {
    take(target.files);
    target.value = ''; // so that the same file can be picked again
  });
}

function wireDrops(add, refuse) {
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  const mark = (over) => document.body.classList.toggle('dropping', over);
  document.addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener('drop', async (event) => {
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    add(await filesOfDrop(event.dataTransfer, refuse));
  });
}
