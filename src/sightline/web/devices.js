// Camera devices (navigator.mediaDevices): list them, open one, and what to do about errors.

const CONSTRAINTS = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

const ADVICE = {
  NotAllowedError: 'The camera was refused. Allow it for this page beside the browser’s address '
    + 'bar (in a frame, its host must allow it too), then start again.',
  NotFoundError: 'There is no camera. Connect one, then start again.',
  NotReadableError: 'The camera is busy or does not start. Close what else uses it, then start again.',
  AbortError: 'The camera is busy or does not start. Close what else uses it, then start again.',
  OverconstrainedError: 'That camera is gone. Start again with another one.',
};

/** Why this page can have no camera at all; '' if it may ask for one. */
export function whyUnavailable() {
  if (navigator.mediaDevices?.getUserMedia) return '';
  if (window.isSecureContext) return 'This browser gives pages no camera.';
  return 'Browsers give the camera to pages over HTTPS or on localhost alone. Open this page '
    + `at https://${location.host}, or on the machine that serves at http://localhost.`;
}

/** A stream of the camera of that id, or of the one that the browser prefers. */
export function openCamera(id) {
  const choice = id ? { deviceId: { exact: id } } : { facingMode: { ideal: 'environment' } };
  return navigator.mediaDevices.getUserMedia({ audio: false, video: { ...CONSTRAINTS, ...choice } });
}

/** What a person can do about `error` of `openCamera`. */
export function adviceFor(error) {
  return ADVICE[error.name] ?? `The camera cannot be used: ${error.message}`;
}

/** Id and name of every camera; names are known once one was allowed. */
export async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter(({ kind }) => kind === 'videoinput')
    .map(({ deviceId, label }, index) => ({ id: deviceId, name: label || `Camera ${index + 1}` }));
}
