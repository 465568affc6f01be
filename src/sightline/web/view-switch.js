// Pictures or camera: one of them is shown.

const byId = (id) => document.getElementById(id);

/** The camera's part is loaded when it is first looked at. */
export function wireModes(api) {
  let camera = null;
  const show = async (wanted) => {
    for (const mode of ['pictures', 'camera']) {
      byId(mode).hidden = mode !== wanted;
      byId(`show-${mode}`).setAttribute('aria-pressed', mode === wanted);
    }
    if (wanted === 'camera') {
      camera ??= import('./camera.js').then(({ mountCamera }) => mountCamera(byId('camera'), api));
    }
    const mounted = await camera;
    if (wanted !== 'camera') mounted?.stop?.();
  };
  byId('show-pictures').addEventListener('click', () => show('pictures'));
  byId('show-camera').addEventListener('click', () => show('camera'));
}
