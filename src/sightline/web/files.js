// The files of a drop or a picked folder, with all that is in its folders.

const PICTURE = /\.(jpe?g|jfif|png|webp|bmp|tiff?|gif|avif)$/i;

const EMPTY = { title: 'No pictures in it', detail: 'JPEG, PNG, WebP, BMP, TIFF, GIF and AVIF are looked for.' };

/**
 * Files of a drop. Those in folders are taken only if they look like pictures.
 *
 * `refuse(name, problem)` is called for what cannot be read, and for folders without pictures.
 */
export async function filesOfDrop(transfer, refuse) {
  // Both must be read before the first await: the browser empties the list then.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  const files = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.filter(Boolean).map((entry) => filesIn(entry, refuse)));
  return found.flat();
}

/** Pictures among the files of a folder that was picked; `refuse` as for `filesOfDrop`. */
export function picturesOf(files, refuse) {
  const found = [...files].filter(looksLikePicture);
  if (!found.length) refuse(files[0]?.webkitRelativePath.split('/')[0] || 'The folder', EMPTY);
  return found;
}

function looksLikePicture(file) {
  const hidden = file.name.startsWith('.');
  return !hidden && (file.type.startsWith('image/') || PICTURE.test(file.name));
}

async function filesIn(entry, refuse) {
  let refused = false;
  const files = await filesOfEntry(entry, (...what) => {
    refused = true;
    refuse(...what);
  });
  if (!files.length && !refused) refuse(entry.name, EMPTY);
  return files;
}

async function filesOfEntry(entry, refuse) {
  try {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const found = [];
    for (const child of await childrenOf(entry)) {
      const files = await filesOfEntry(child, refuse);
      found.push(...(child.isFile ? files.filter(looksLikePicture) : files));
    }
    return found;
  } catch ({ message }) {
    refuse(entry.name, { title: 'It cannot be read', detail: message });
    return [];
  }
}

async function childrenOf(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    // It gives a hundred at a time, and none at the end.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found.sort((a, b) => a.name.localeCompare(b.name));
    found.push(...some);
  }
}
