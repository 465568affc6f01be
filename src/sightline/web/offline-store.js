// The pictures of running tasks, kept by the browser, so that a page that is loaded again has them.

const LIFE = 60 * 60 * 1000; // ms; the service forgets results long before
const STORE = 'pictures';

let opening = null;

/** Keep the pictures of a task: records of `{name, blob, width, height}` in their order. */
export async function keep(task, pictures) {
  await write((store) => {
    const at = Date.now();
    pictures.forEach((picture, index) => store.put({ ...picture, at }, [task, index]));
  });
}

/** The pictures of a task in their order, as far as they were kept. */
export async function kept(task) {
  const database = await open();
  if (!database) return [];
  const range = IDBKeyRange.bound([task, 0], [task, Infinity]);
  try {
    return (await done(database.transaction(STORE).objectStore(STORE).getAll(range))) ?? [];
  } catch {
    return []; // the browser has closed it meanwhile
  }
}

/** Forget the pictures of a task. */
export async function forget(task) {
  await write((store) => store.delete(IDBKeyRange.bound([task, 0], [task, Infinity])));
}

/** Forget what nobody will ask for again. */
export async function sweep() {
  await write((store) => {
    store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor) return;
      if (cursor.value.at < Date.now() - LIFE) cursor.delete();
      cursor.continue();
    };
  });
}

/** Nothing is kept where there is no room, or no permission: the service's pictures do then. */
async function write(change) {
  const database = await open();
  if (!database) return;
  try {
    const transaction = database.transaction(STORE, 'readwrite');
    const ended = new Promise((resolve) => {
      transaction.oncomplete = resolve;
      transaction.onabort = resolve;
    });
    change(transaction.objectStore(STORE));
    await ended;
  } catch {
    opening = null; // the browser has closed it meanwhile: it may open again
  }
}

function open() {
  opening ??= openDatabase();
  return opening;
}

async function openDatabase() {
  try {
    const request = indexedDB.open('sightline', 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    return await done(request);
  } catch {
    return null; // closed to pages in some frames
  }
}

function done(request) {
  return new Promise((resolve) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
  });
}
