// Uploads with progress, by XMLHttpRequest: fetch tells none.

// ms in which nothing is sent and nothing answered; the service itself gives up after a minute
const IDLE_TIMEOUT = 60_000;

/**
 * POST `form` and answer as fetch would; a TypeError also where nothing moves any more.
 *
 * `handlers.progress(sent, total)` is called with bytes; `handlers.sent()` when all are out.
 */
export function upload(url, form, { headers, signal, handlers }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    let timer = 0;
    const moves = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        request.onabort = request.onerror;
        request.abort();
      }, IDLE_TIMEOUT);
    };
    request.upload.onprogress = ({ loaded, total }) => {
      moves();
      handlers.progress(loaded, total);
    };
    request.upload.onload = () => {
      moves();
      handlers.sent();
    };
    request.onloadend = () => clearTimeout(timer);
    request.onload = () => resolve(responseOf(request));
    request.onerror = () => reject(new TypeError('Nobody answers'));
    request.ontimeout = request.onerror;
    request.onabort = () => reject(new DOMException('Stopped', 'AbortError'));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    if (signal.aborted) return request.onabort();
    moves();
    return request.send(form);
  });
}

function responseOf(request) {
  const headers = new Headers();
  const wait = request.getResponseHeader('Retry-After');
  if (wait) headers.set('Retry-After', wait);
  return new Response(request.responseText, { status: request.status, headers });
}

/** Files are read when they are sent, and may have been deleted or changed since they were chosen. */
export async function isReadable(file) {
  const reader = file.stream().getReader(); // a slice of a file that is gone is empty, and no error
  try {
    await reader.read();
    await reader.cancel();
    return true;
  } catch {
    return false;
  }
}

/** 128 random bits; `crypto.randomUUID` is for secure pages alone. */
export function uniqueKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
