// The offline store: pictures of running tasks in IndexedDB, so that a reloaded page still has them.

const MAX_AGE = 60 * 60 * 1000; // ms; the service forgets results long before
const STORE = 'pictures';

let opening = null;

/** Store the pictures of a task: records of `{name, blob, width, height}` in their order. */
export async function storePictures(taskId, pictures) {
  await write((store) => {
    const at = Date.now();
    pictures.forEach((picture, index) => store.put({ ...picture, at }, [taskId, index]));
  });
}

/** The pictures of a task in their order, as far as they were stored. */
export async function loadPictures(taskId) {
  const database = await open();
  if (!database) return [];
  const range = IDBKeyRange.bound([taskId, 0], [taskId, Infinity]);
  try {
    return (await done(database.transaction(STORE).objectStore(STORE).getAll(range))) ?? [];
  } catch {
    return []; // the browser has closed it meanwhile
  }
}

/** Delete the pictures of a task. */
export async function deletePictures(taskId) {
  await write((store) => store.delete(IDBKeyRange.bound([taskId, 0], [taskId, Infinity])));
}

/** Delete what nobody will ask for again. */
export async function deleteExpired() {
  await write((store) => {
    store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor) return;
      if (cursor.value.at < Date.now() - MAX_AGE) cursor.delete();
      cursor.continue();
    };
  });
}

/** Nothing is stored where there is no room, or no permission: the service's pictures do then. */
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
