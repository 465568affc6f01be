// The API client: the service's address, the key, and every request of the page with both.

const KEY_PREFIX = 'sightline-key';

/**
 * The service that this page talks to: the one it came from, or `?api=https://…`.
 *
 * `base` is an address without a slash at its end, '' for the root of this origin.
 * `foreign` tells whether it is another origin. Paths begin with a slash.
 * `problem` says what is wrong with the address that was named; nobody is to be asked then.
 */
export function createApi(address = location.href) {
  const { base, problem } = serviceOf(address);
  const foreign = new URL(base || '/', address).origin !== new URL(address).origin;
  const keyName = `${KEY_PREFIX}:${base}`;
  const api = {
    base,
    foreign,
    problem,
    key: readKey(keyName),
    /** The address of `path` at the service, whole. */
    url: (path) => new URL(base + path, address).href,
    /** As the browser's fetch, with the key that the person entered. */
    fetch: (path, options = {}) => fetch(api.url(path), withKey(options, api)),
    /** The address of a WebSocket at `path`. It takes no headers: `key` is there to be sent. */
    socket: (path) => api.url(path).replace(/^http/, 'ws'),
    /** Remember a key until the tab is closed; '' forgets it. */
    setKey(key) {
      api.key = key;
      storeKey(keyName, key);
    },
  };
  return api;
}

/**
 * The headers with the key, for requests that follow redirects whatever one does: browsers leave
 * this one out where they are sent on to another origin (https://fetch.spec.whatwg.org, HTTP-redirect fetch).
 */
export function keyForUpload(api) {
  return api.key ? { Authorization: `Bearer ${api.key}` } : keyHeaders(api);
}

function keyHeaders(api) {
  // Sent empty too, where it costs no question to another origin first: a service that is asked
  // with it for a key does not make the browser open a dialog of its own.
  return api.key || !api.foreign ? { 'X-API-Key': api.key } : {};
}

function withKey(options, api) {
  const headers = new Headers(options.headers);
  for (const [name, value] of Object.entries(keyHeaders(api))) headers.set(name, value);
  // The browser would take the key along to wherever it is sent on.
  return { ...options, headers, redirect: api.key ? 'error' : 'follow' };
}

/** The address of the service, from the page's own. */
function serviceOf(address) {
  const page = new URL(address);
  const named = page.searchParams.get('api');
  const service = URL.canParse(named) ? new URL(named) : null;
  if (/^https?:$/.test(service?.protocol)) {
    return { base: (service.origin + service.pathname).replace(/\/+$/, ''), problem: '' };
  }
  return {
    base: new URL('.', page).pathname.replace(/^\/+/, '/').replace(/\/+$/, ''), // '//x' is a host
    problem: named ? `“${named}” is no address of a service: write ?api=https://…` : '',
  };
}

// Storage is closed to pages in some frames: a key then lives as long as the page.

function readKey(name) {
  try {
    return sessionStorage.getItem(name) ?? '';
  } catch {
    return '';
  }
}

function storeKey(name, key) {
  try {
    if (key) sessionStorage.setItem(name, key);
    else sessionStorage.removeItem(name);
  } catch {
    // kept in memory
  }
}
