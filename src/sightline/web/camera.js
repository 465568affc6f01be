// The browser's camera, with live boxes over it.

/** Nothing yet. */
export function mountCamera() {}
