// The status of the service in a line.

/** Nothing yet. */
export function mountStrip() {}
