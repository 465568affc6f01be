// The switch between the two views, pictures and camera: one of them is shown.

const byId = (id) => document.getElementById(id);

/** The camera's view is loaded when it is first looked at. */
export function wireViewSwitch(api) {
  let camera = null;
  const show = async (wanted) => {
    for (const view of ['pictures', 'camera']) {
      byId(view).hidden = view !== wanted;
      byId(`show-${view}`).setAttribute('aria-pressed', view === wanted);
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
