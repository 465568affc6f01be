// Files out of what was dropped, pasted or picked; folders with all that is in them.

const PICTURE = /\.(jpe?g|jfif|png|webp|bmp|tiff?|gif|avif)$/i;

/** Files of a drop. Those in folders are taken only if they look like pictures. */
export async function filesOfDrop(transfer) {
  // Both must be read before the first await: the browser empties the list then.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  const files = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.filter(Boolean).map(filesOfEntry));
  return found.flat();
}

/** Pictures among the files of a folder that was picked. */
export function picturesOf(files) {
  return [...files].filter(looksLikePicture);
}

function looksLikePicture(file) {
  const hidden = file.name.startsWith('.');
  return !hidden && (file.type.startsWith('image/') || PICTURE.test(file.name));
}

async function filesOfEntry(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const found = [];
  for (const child of await childrenOf(entry)) {
    const files = await filesOfEntry(child);
    found.push(...(child.isFile ? files.filter(looksLikePicture) : files));
  }
  return found;
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
